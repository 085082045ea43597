//! Resolves symbolic links that a permit follows to paths beneath the granted root.

use crate::fs::error::FileError;

/// Returns the names from the root down to a path; fails if the path is not beneath the root.
pub(super) fn components<'p>(root: &str, path: &'p str) -> Result<Vec<&'p str>, FileError> {
    let beneath = path.strip_prefix(root.trim_end_matches('/')).ok_or(FileError::OutsideRoot)?;
    if !(beneath.is_empty() || beneath.starts_with('/')) {
        return Err(FileError::OutsideRoot);
    }
    Ok(beneath.split('/').filter(|component| !component.is_empty()).collect())
}

/// Returns the path behind a link in the directory `before` beneath the root: the link's target, then `after`.
///
/// # Errors
/// When the target is outside the root, or contains `..` after a name: the meaning of that depends on whether the name
/// is a link.
pub(super) fn link_target(
    root: &str,
    resolved: &str,
    before: &[&str],
    target: &str,
    after: &[&str],
) -> Result<String, FileError> {
    let refuse = |reason| FileError::LinkNotFollowed(target.to_owned(), reason);
    let out = || refuse("it leads out of the granted root");
    let (mut names, text): (Vec<&str>, &str) = match target.starts_with('/') {
        false => (before.to_vec(), target),
        true => {
            let within = [root, resolved].into_iter().find_map(|root| components(root, target).ok());
            (within.ok_or_else(out)?, "")
        }
    };
    if target.starts_with('/') && names.contains(&"..") {
        return Err(refuse("the link's target has `..` after a name"));
    }
    let mut named = false;
    for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
        match name {
            ".." if named => return Err(refuse("the link's target has `..` after a name")),
            ".." => drop(names.pop().ok_or_else(out)?),
            name => {
                named = true;
                names.push(name);
            }
        }
    }
    names.retain(|name| *name != ".");
    names.extend(after);
    let path = format!("{}/{}", root.trim_end_matches('/'), names.join("/"));
    Ok(if names.is_empty() { root.to_owned() } else { path })
}

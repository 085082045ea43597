//! Pending effects in a snapshot of the state.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use ak_json::{Object, Text, Value};

use crate::{
    accounts::{
        agents::Agents,
        tool_permissions::{CallStack, ToolPermissions},
    },
    api::{
        effect::{LogWork, Ticket},
        fields::{FieldError, Fields, insert_some},
        http_hop::HttpHop,
        operation::Operation,
        prepared::Prepared,
        presented::PresentedCapability,
        reply::Failure,
        request::Request,
        session::SessionId,
    },
    effects::pending::{EffectState, PendingEffect},
};

/// The members of all kinds of effects. Every row has all of them, since the form of the state must not change.
#[derive(Default)]
struct Members<'s> {
    links_beneath: Option<&'s Text>,
    hop: Option<&'s HttpHop>,
    sent: &'s [u64],
    tokens: u64,
    tokens_max: u64,
    host_calls: u64,
    erasing: Option<&'s LogWork>,
}

impl Members<'_> {
    fn of(state: &EffectState) -> Members<'_> {
        let none = Members::default();
        match state {
            EffectState::File { links_beneath } => Members { links_beneath: links_beneath.as_ref(), ..none },
            EffectState::Http { hop, sent, prepared: _ } => Members { hop: Some(hop), sent, ..none },
            EffectState::Infer { tokens, tokens_max } => {
                Members { tokens: *tokens, tokens_max: *tokens_max, ..none }
            }
            EffectState::Tool { host_calls } => Members { host_calls: *host_calls, ..none },
            EffectState::Log { erasing } => Members { erasing: erasing.as_ref(), ..none },
        }
    }
}

impl EffectState {
    /// Reads the members of all kinds, and keeps those of the request's kind.
    fn from_fields(request: &Request, fields: &mut Fields<'_>) -> Result<EffectState, FieldError> {
        let links_beneath = fields.optional_text("links_beneath")?;
        let hop = fields.optional("hop").as_ref().map(HttpHop::from_value).transpose()?;
        let sent = fields.items("sent")?;
        let sent: Option<Vec<u64>> = sent.iter().map(Value::as_u64).collect();
        let sent = sent.ok_or_else(|| fields.error("sent", "expected numbers"))?;
        let (tokens, tokens_max) = (fields.u64("tokens")?, fields.u64("tokens_max")?);
        let host_calls = fields.u64("host_calls")?;
        let erasing = fields.optional("erasing").map(|row| {
            let number = |index| row.as_array()?.iter().nth(index)?.as_u64();
            Some(LogWork::Erase { subject: number(0)?, objects: number(1)?, entries: number(2) })
        });
        let erasing =
            erasing.map(|work| work.ok_or_else(|| fields.error("erasing", "is no erasure"))).transpose()?;
        Ok(match request {
            Request::File(_) => EffectState::File { links_beneath },
            Request::Http(_) => {
                let hop = hop.ok_or_else(|| fields.error("hop", "is missing"))?;
                EffectState::Http { hop: Box::new(hop), sent, prepared: Prepared::default() }
            }
            Request::Infer(_) => EffectState::Infer { tokens, tokens_max },
            Request::Tools(_) => EffectState::Tool { host_calls },
            Request::Audit(_) => EffectState::Log { erasing },
            Request::Heap(_) | Request::Agent(_) | Request::Admin(_) => {
                return Err(fields.error("op", "is answered at once, and so is no effect"));
            }
        })
    }
}

impl PendingEffect {
    /// The form in a snapshot. `lists` collects the distinct needs of tools, to which the row refers by index.
    pub(crate) fn to_value<'k>(&'k self, lists: &mut Vec<&'k Arc<ToolPermissions>>) -> Object {
        let mut row = Object::new();
        row.insert("session", u64::from(self.session.number()));
        row.insert("agent", u64::from(self.account.number()));
        row.insert("op", self.request.operation().name());
        row.insert("args", self.request.args());
        insert_some(&mut row, "cap", self.presented.as_ref().map(PresentedCapability::to_value));
        insert_some(&mut row, "target", self.target.clone());
        row.insert("hold", self.reservation.to_value());
        let Members { links_beneath, hop, sent, tokens, tokens_max, host_calls, erasing } =
            Members::of(&self.state);
        insert_some(&mut row, "links_beneath", links_beneath.cloned());
        if let (Request::Http(first), Some(hop)) = (&*self.request, hop) {
            row.insert("hop", hop.to_value(first));
        }
        row.insert("sent", sent.iter().copied().map(Value::from).collect::<Vec<Value>>());
        row.insert("tokens", tokens);
        row.insert("tokens_max", tokens_max);
        insert_some(&mut row, "within", self.within.map(Ticket::cause));
        let tools = self.tools.iter().map(|needs| {
            let known = lists.iter().position(|list| list == &needs);
            let at = known.unwrap_or_else(|| {
                lists.push(needs);
                lists.len() - 1
            });
            Value::from(at as u64)
        });
        row.insert("tools", tools.collect::<Vec<Value>>());
        row.insert("host_calls", host_calls);
        insert_some(&mut row, "aborted", self.aborted.as_ref().map(Failure::facts));
        let erasing = erasing.and_then(LogWork::erasing);
        let erasing = erasing
            .map(|(subject, objects, entries)| ak_json::array![subject, objects, entries.map(Value::from)]);
        insert_some(&mut row, "erasing", erasing);
        row
    }

    pub(crate) fn from_value(
        value: &Value,
        agents: &Agents,
        needs: &[Arc<ToolPermissions>],
    ) -> Result<(Ticket, PendingEffect), FieldError> {
        let mut fields = Fields::new("under_way", value)?;
        let operation = Operation::from_name(&fields.text("op")?)
            .ok_or_else(|| fields.error("op", "is not an operation"))?;
        let request = Request::decode(operation, &fields.value("args")?)?;
        let tools = fields.items("tools")?;
        let tools = tools.iter().map(|at| needs.get(usize::try_from(at.as_u64()?).ok()?).cloned());
        let tools: Option<CallStack> = tools.collect();
        let session = SessionId::from_number(fields.account("session")?.number());
        let account = fields.account("agent")?;
        let open = PendingEffect {
            within: fields.optional_u64("within")?.map(Ticket::new),
            tools: tools.ok_or_else(|| fields.error("tools", "expected numbers of needs"))?,
            presented: fields.optional("cap").as_ref().map(PresentedCapability::from_value).transpose()?,
            target: fields.optional_text("target")?.as_deref().map(String::from),
            aborted: fields.optional("aborted").as_ref().map(Failure::from_facts).transpose()?,
            state: EffectState::from_fields(&request, &mut fields)?,
            reservation: agents.restore_reservation(&fields.value("hold")?)?,
            session,
            account,
            request: Arc::new(request),
            steps_bytes: 0,
            refused: None,
        };
        let ticket = Ticket::new(fields.u64("ticket")?);
        fields.finish()?;
        Ok((ticket, open))
    }
}

//! SQLite, built from source with the bench.

use rusqlite::{Connection, params};

/// A table of documents as JSONB, in a database in memory. The document has the id 1.
pub(crate) struct Sqlite(Connection);

impl Sqlite {
    pub(crate) fn new(text: &str) -> Sqlite {
        let connection = Connection::open_in_memory().expect("SQLite opens");
        connection
            .execute_batch("CREATE TABLE documents (id INTEGER PRIMARY KEY, document BLOB)")
            .expect("the table is made");
        let sqlite = Sqlite(connection);
        sqlite.insert(text);
        sqlite
    }

    /// Stores a document under the id 1, in place of the one there.
    pub(crate) fn insert(&self, text: &str) {
        let mut insert = self
            .0
            .prepare_cached("INSERT OR REPLACE INTO documents VALUES (1, jsonb(?1))")
            .expect("the statement is right");
        insert.execute(params![text]).expect("it is stored");
    }

    /// Replaces a field of the document.
    pub(crate) fn set(&self, path: &str, score: u32) {
        let mut update = self
            .0
            .prepare_cached("UPDATE documents SET document = jsonb_set(document, ?1, ?2) WHERE id = 1")
            .expect("the statement is right");
        assert_eq!(update.execute(params![path, score]).expect("it is changed"), 1);
    }

    pub(crate) fn get(&self) -> String {
        let mut select = self
            .0
            .prepare_cached("SELECT json(document) FROM documents WHERE id = 1")
            .expect("the statement is right");
        select.query_row([], |row| row.get(0)).expect("it is there")
    }
}

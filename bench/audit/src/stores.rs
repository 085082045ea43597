//! Stores that make records durable, a batch at a time: the journal, its rivals, and the lower bound.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use ak_audit::{
    Entry, Journal, Record,
    journal::{Genesis, Options},
    leaf_hash, node_hash,
};
use measure::black_box;

use ak_host::FileDisk;

/// The entries of a batch in two forms: before they are encoded, and as bytes.
pub struct Batch {
    pub entries: Vec<Entry<'static>>,
    pub bytes: Vec<Vec<u8>>,
}

/// A store that keeps records in order.
pub trait Store {
    /// Appends batches, one after the other, and returns once all of them are durable. A store that need not hash uses
    /// the bytes; the journal encodes and hashes the entries.
    fn append(&mut self, batches: &[Batch]) {
        batches.iter().for_each(|batch| self.append_bytes(&batch.bytes));
    }

    /// Appends one batch, and returns once it is durable.
    fn append_bytes(&mut self, records: &[Vec<u8>]);

    /// Every entry in the store, oldest first.
    fn entries(&mut self) -> Vec<Vec<u8>>;

    /// Frees disk space between two turns; this is not timed.
    fn rest(&mut self) {}
}

/// The journal of `ak-audit` on the host's disk. While one batch is written, the next is hashed and framed.
pub struct Ours {
    journal: Mutex<Journal<FileDisk>>,
    disk: FileDisk,
}

impl Ours {
    pub fn new(directory: &Path) -> Ours {
        let disk = FileDisk::new(directory).expect("the directory can be made");
        let genesis = Genesis { id: [7; 16], meta: Vec::new() };
        let (journal, _) = Journal::open(disk.clone(), &genesis, Options::default(), &[]).expect("it is new");
        Ours { journal: Mutex::new(journal), disk }
    }

    /// Writes the batches that are ready, and signals `taken` when it starts to write each.
    fn write(&self, ready: &Receiver<()>, taken: &SyncSender<()>) {
        let mut disk = self.disk.clone();
        while ready.recv().is_ok() {
            let batch = self.journal.lock().expect("nobody died").begin_sync().expect("it can be written");
            let Some(batch) = batch else { panic!("there is a batch") };
            // After the last batch the appending thread may have ended.
            taken.send(()).unwrap_or_default();
            let written = batch.write(&mut disk);
            let mut journal = self.journal.lock().expect("nobody died");
            journal.finish_sync(batch, written).expect("the disk works");
        }
    }
}

impl Store for Ours {
    fn append(&mut self, batches: &[Batch]) {
        let body: Arc<[u8]> = [].into();
        let ours = &*self;
        if batches.iter().all(|batch| batch.entries.len() == 1) {
            // A single waiter has no next batch to prepare meanwhile.
            for entry in batches.iter().flat_map(|batch| &batch.entries) {
                let mut journal = self.journal.lock().expect("nobody died");
                let leaf = entry.to_leaf().expect("it fits");
                journal.append(&[(leaf, body.clone())]).expect("there is space");
                journal.sync().expect("the disk works");
            }
            return;
        }
        std::thread::scope(|scope| {
            let (ready, readied) = sync_channel(1);
            let (taken, took) = sync_channel(1);
            scope.spawn(move || ours.write(&readied, &taken));
            for (index, batch) in batches.iter().enumerate() {
                let leaf = |entry: &Entry<'static>| (entry.to_leaf().expect("it fits"), body.clone());
                let leaves: Vec<_> = batch.entries.iter().map(leaf).collect();
                if index > 0 {
                    // The batches must stay separate, so the write of the one before must have started.
                    took.recv().expect("the writer lives");
                }
                let mut journal = ours.journal.lock().expect("nobody died");
                journal.append(&leaves).expect("there is space");
                journal.close_batch();
                drop(journal);
                ready.send(()).expect("the writer lives");
            }
        });
    }

    fn append_bytes(&mut self, records: &[Vec<u8>]) {
        let mut journal = self.journal.lock().expect("nobody died");
        let record = |bytes: &Vec<u8>| Record { entry: bytes.as_slice().into(), body: [].into() };
        journal.append(&records.iter().map(record).collect::<Vec<_>>()).expect("there is space");
        journal.sync().expect("the disk works");
    }

    fn entries(&mut self) -> Vec<Vec<u8>> {
        let journal = self.journal.lock().expect("nobody died");
        journal.records(0..u64::MAX).map(|record| record.expect("it is whole").1.entry.to_vec()).collect()
    }

    fn rest(&mut self) {
        let mut journal = self.journal.lock().expect("nobody died");
        let size = journal.len();
        journal.prune(size).expect("the disk works");
        // Waits for background preparation, so that it does not disturb the turns of others.
        self.disk.wait_idle();
    }
}

/// The lower bound: a file with blocks that were written before is overwritten and synced. With `hashes`, the hashes of
/// a log are computed too.
pub struct Raw {
    file: File,
    hashes: bool,
    buffer: Vec<u8>,
    at: u64,
}

impl Raw {
    const BYTES: u64 = 128 << 20;
    /// The bytes that the journal adds to each record, and at the end of each batch (`END`).
    const FRAME: usize = 13;
    const END: usize = 65 + 17;

    pub fn new(directory: &Path, hashes: bool) -> Raw {
        fs::create_dir_all(directory).expect("the directory can be made");
        let path = directory.join("raw");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("it is new");
        file.write_all_at(&vec![0; Raw::BYTES as usize], 0).expect("there is space");
        file.sync_all().expect("the disk works");
        Raw { file, hashes, buffer: Vec::new(), at: 0 }
    }
}

impl Store for Raw {
    fn append_bytes(&mut self, records: &[Vec<u8>]) {
        self.buffer.clear();
        for record in records {
            self.buffer.extend_from_slice(&[0; Raw::FRAME]);
            self.buffer.extend_from_slice(record);
            if self.hashes {
                let leaf = leaf_hash(record);
                black_box(node_hash(&leaf, &leaf));
            }
        }
        self.buffer.extend_from_slice(&[0; Raw::END]);
        if self.at + self.buffer.len() as u64 > Raw::BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at).expect("there is space");
        self.file.sync_data().expect("the disk works");
        self.at += self.buffer.len() as u64;
    }

    fn entries(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = vec![0; self.at as usize];
        self.file.read_exact_at(&mut bytes, 0).expect("it was written");
        let frames = bytes.chunks_exact(Raw::FRAME + crate::records::ENTRY_BYTES);
        frames.map(|frame| frame[Raw::FRAME..].to_vec()).collect()
    }
}

/// SQLite with a write-ahead log, synced at each commit.
pub struct Sqlite(rusqlite::Connection);

impl Sqlite {
    pub fn new(directory: &Path) -> Sqlite {
        fs::create_dir_all(directory).expect("the directory can be made");
        let connection = rusqlite::Connection::open(directory.join("log.db")).expect("it can be made");
        let begin = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                     CREATE TABLE log (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL) STRICT;";
        connection.execute_batch(begin).expect("it is SQL");
        Sqlite(connection)
    }
}

impl Store for Sqlite {
    fn append_bytes(&mut self, records: &[Vec<u8>]) {
        let transaction = self.0.transaction().expect("it begins");
        {
            let insert = "INSERT INTO log (entry) VALUES (?1)";
            let mut insert = transaction.prepare_cached(insert).expect("it is SQL");
            for record in records {
                insert.execute([&**record]).expect("it is inserted");
            }
        }
        transaction.commit().expect("it commits");
    }

    fn entries(&mut self) -> Vec<Vec<u8>> {
        let mut select = self.0.prepare("SELECT entry FROM log ORDER BY seq").expect("it is SQL");
        let rows = select.query_map([], |row| row.get(0)).expect("it can be asked");
        rows.map(|row| row.expect("it is there")).collect()
    }
}

/// redb with durable commits.
pub struct Redb {
    database: redb::Database,
    next: u64,
}

const LOG: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("log");

impl Redb {
    pub fn new(directory: &Path) -> Redb {
        fs::create_dir_all(directory).expect("the directory can be made");
        let database = redb::Database::create(directory.join("log.redb")).expect("it can be made");
        Redb { database, next: 0 }
    }
}

impl Store for Redb {
    fn append_bytes(&mut self, records: &[Vec<u8>]) {
        let mut transaction = self.database.begin_write().expect("it begins");
        transaction.set_durability(redb::Durability::Immediate).expect("nothing was written yet");
        {
            let mut table = transaction.open_table(LOG).expect("it can be made");
            for record in records {
                table.insert(self.next, record.as_slice()).expect("it is inserted");
                self.next += 1;
            }
        }
        transaction.commit().expect("it commits");
    }

    fn entries(&mut self) -> Vec<Vec<u8>> {
        use redb::{ReadableDatabase as _, ReadableTable as _};
        let table = self.database.begin_read().expect("it begins").open_table(LOG).expect("it is there");
        let rows = table.iter().expect("it can be read");
        rows.map(|row| row.expect("it is there").1.value().to_vec()).collect()
    }
}

/// fjall, synced after each batch.
pub struct Fjall {
    database: fjall::Database,
    log: fjall::Keyspace,
    next: u64,
}

impl Fjall {
    pub fn new(directory: &Path) -> Fjall {
        let database = fjall::Database::builder(directory).open().expect("it can be made");
        let log = database.keyspace("log", fjall::KeyspaceCreateOptions::default).expect("it can be made");
        Fjall { database, log, next: 0 }
    }
}

impl Store for Fjall {
    fn append_bytes(&mut self, records: &[Vec<u8>]) {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for record in records {
            batch.insert(&self.log, self.next.to_be_bytes(), record.as_slice());
            self.next += 1;
        }
        batch.commit().expect("it commits");
    }

    fn entries(&mut self) -> Vec<Vec<u8>> {
        self.log.iter().map(|row| row.into_inner().expect("it is there").1.to_vec()).collect()
    }
}

-- Schema version 4 on SQLite. Never edit it: see speakers/store/migrations.py.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE tenants (
    tenant INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    next_sequence INTEGER NOT NULL,
    clock REAL NOT NULL,
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    keeps_text INTEGER NOT NULL,
    pseudonymous INTEGER NOT NULL,
    retention_days REAL
);
CREATE TABLE speakers (
    speaker INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    speaker_id TEXT NOT NULL,
    name TEXT,
    scope TEXT NOT NULL,
    created_at REAL NOT NULL,
    merged_into INTEGER REFERENCES speakers (speaker),
    basis INTEGER NOT NULL,
    UNIQUE (tenant, speaker_id)
);
CREATE INDEX speakers_by_target ON speakers (merged_into);
CREATE TABLE aliases (
    alias INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    speaker INTEGER NOT NULL REFERENCES speakers (speaker),
    scope TEXT NOT NULL,
    match_name TEXT NOT NULL,
    skeleton TEXT NOT NULL,
    name TEXT,
    UNIQUE (tenant, scope, match_name)
);
CREATE INDEX aliases_by_speaker ON aliases (speaker);
CREATE INDEX aliases_by_skeleton ON aliases (tenant, skeleton);
CREATE TABLE audit (
    audit INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    at REAL NOT NULL,
    action TEXT NOT NULL,
    speaker_id TEXT,
    other_id TEXT,
    detail TEXT NOT NULL,
    undone_by INTEGER
);
CREATE INDEX audit_by_speaker ON audit (tenant, speaker_id);
CREATE INDEX audit_by_other ON audit (tenant, other_id);
CREATE TABLE embedders (
    embedder INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL UNIQUE REFERENCES tenants,
    name TEXT NOT NULL,
    revision TEXT NOT NULL,
    width INTEGER NOT NULL
);
CREATE TABLE label_sets (
    label_set INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    labels TEXT NOT NULL,
    UNIQUE (tenant, labels)
);
CREATE TABLE conversations (
    tenant INTEGER NOT NULL REFERENCES tenants,
    conversation_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (tenant, conversation_id),
    UNIQUE (tenant, sequence)
);
CREATE TABLE observations (
    observation INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL,
    speaker INTEGER NOT NULL REFERENCES speakers (speaker),
    conversation_id TEXT NOT NULL,
    utterance_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    time REAL NOT NULL,
    timestamp REAL,
    text TEXT,
    label_set INTEGER REFERENCES label_sets,
    weights BLOB,
    total REAL,
    aleatoric REAL,
    epistemic REAL,
    emotion TEXT,
    confidence REAL,
    correction TEXT,
    model TEXT,
    embedder INTEGER REFERENCES embedders,
    vector BLOB,
    UNIQUE (tenant, conversation_id, utterance_id),
    FOREIGN KEY (tenant, conversation_id) REFERENCES conversations
);
CREATE INDEX observations_in_order ON observations (speaker, time, sequence, conversation_id, position);
CREATE TABLE moves (
    audit INTEGER NOT NULL REFERENCES audit,
    observation INTEGER NOT NULL REFERENCES observations,
    previous INTEGER NOT NULL,
    PRIMARY KEY (audit, observation)
);
CREATE INDEX moves_by_observation ON moves (observation);
CREATE TABLE bios (
    bio INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    speaker INTEGER NOT NULL REFERENCES speakers (speaker),
    version INTEGER NOT NULL,
    time REAL NOT NULL,
    sequence INTEGER NOT NULL,
    conversation_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    writer TEXT NOT NULL,
    basis INTEGER NOT NULL,
    utterances INTEGER NOT NULL,
    conversations INTEGER NOT NULL,
    UNIQUE (speaker, version)
);
CREATE TABLE passages (
    passage INTEGER PRIMARY KEY AUTOINCREMENT,
    bio INTEGER NOT NULL REFERENCES bios,
    position INTEGER NOT NULL,
    text TEXT NOT NULL,
    support INTEGER NOT NULL,
    embedder INTEGER REFERENCES embedders,
    vector BLOB,
    UNIQUE (bio, position)
);
CREATE TABLE tombstones (
    tenant INTEGER NOT NULL REFERENCES tenants,
    digest TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (tenant, digest)
);
CREATE TABLE erasures (
    erasure INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant INTEGER NOT NULL REFERENCES tenants,
    speakers TEXT NOT NULL,
    at REAL NOT NULL
);

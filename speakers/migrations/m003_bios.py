"""What is told of a speaker: versioned bios in passages, each written from the past of one point."""

STATEMENTS = (
    """
    CREATE TABLE bios (
        bio {id}, tenant {int} NOT NULL REFERENCES tenants, speaker {int} NOT NULL REFERENCES speakers (speaker), version {int} NOT NULL,
        time {float} NOT NULL, sequence {int} NOT NULL, conversation_id {key} NOT NULL, position {int} NOT NULL,
        writer {text} NOT NULL, basis {int} NOT NULL, utterances {int} NOT NULL, conversations {int} NOT NULL,
        UNIQUE (speaker, version))
    """,
    """
    CREATE TABLE passages (
        passage {id}, bio {int} NOT NULL REFERENCES bios, position {int} NOT NULL, text {text} NOT NULL, support {int} NOT NULL,
        embedder {int} REFERENCES embedders, vector {blob}, UNIQUE (bio, position))
    """,
)

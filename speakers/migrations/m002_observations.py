"""What was said and felt: conversations with their place in the order, observations, and which merge or split moved them."""

STATEMENTS = (
    """
    CREATE TABLE embedders (
        embedder {id}, tenant {int} NOT NULL UNIQUE REFERENCES tenants, name {text} NOT NULL, revision {text} NOT NULL, width {int} NOT NULL)
    """,
    "CREATE TABLE label_sets (label_set {id}, tenant {int} NOT NULL REFERENCES tenants, labels {key} NOT NULL, UNIQUE (tenant, labels))",
    """
    CREATE TABLE conversations (
        tenant {int} NOT NULL REFERENCES tenants, conversation_id {key} NOT NULL, sequence {int} NOT NULL, time {float} NOT NULL,
        PRIMARY KEY (tenant, conversation_id), UNIQUE (tenant, sequence))
    """,
    """
    CREATE TABLE observations (
        observation {id}, tenant {int} NOT NULL, speaker {int} NOT NULL REFERENCES speakers (speaker),
        conversation_id {key} NOT NULL, utterance_id {key} NOT NULL, position {int} NOT NULL, sequence {int} NOT NULL, time {float} NOT NULL,
        timestamp {float}, text {text}, label_set {int} REFERENCES label_sets, weights {blob},
        total {float}, aleatoric {float}, epistemic {float}, emotion {text}, confidence {float}, correction {text}, model {text},
        embedder {int} REFERENCES embedders, vector {blob},
        UNIQUE (tenant, conversation_id, utterance_id),
        FOREIGN KEY (tenant, conversation_id) REFERENCES conversations)
    """,
    "CREATE INDEX observations_in_order ON observations (speaker, time, sequence, conversation_id, position)",
    """
    CREATE TABLE moves (
        audit {int} NOT NULL REFERENCES audit, observation {int} NOT NULL REFERENCES observations, previous {int} NOT NULL,
        PRIMARY KEY (audit, observation))
    """,
    "CREATE INDEX moves_by_observation ON moves (observation)",
)

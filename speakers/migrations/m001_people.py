"""Who there is: tenants, speakers, the names they answer to, and the log of changes to identities."""

STATEMENTS = (
    "CREATE TABLE meta (name {key} PRIMARY KEY, value {text} NOT NULL)",
    """
    CREATE TABLE tenants (
        tenant {id}, name {key} NOT NULL UNIQUE,
        next_sequence {int} NOT NULL, clock {float} NOT NULL, generation {int} NOT NULL, epoch {int} NOT NULL,
        keeps_text {int} NOT NULL, pseudonymous {int} NOT NULL, retention_days {float})
    """,
    """
    CREATE TABLE speakers (
        speaker {id}, tenant {int} NOT NULL REFERENCES tenants, speaker_id {key} NOT NULL, name {text}, scope {key} NOT NULL,
        created_at {float} NOT NULL, merged_into {int} REFERENCES speakers (speaker), basis {int} NOT NULL,
        UNIQUE (tenant, speaker_id))
    """,
    "CREATE INDEX speakers_by_target ON speakers (merged_into)",
    """
    CREATE TABLE aliases (
        alias {id}, tenant {int} NOT NULL REFERENCES tenants, speaker {int} NOT NULL REFERENCES speakers (speaker),
        scope {key} NOT NULL, match_name {key} NOT NULL, skeleton {key} NOT NULL, name {text},
        UNIQUE (tenant, scope, match_name))
    """,
    "CREATE INDEX aliases_by_speaker ON aliases (speaker)",
    "CREATE INDEX aliases_by_skeleton ON aliases (tenant, skeleton)",
    """
    CREATE TABLE audit (
        audit {id}, tenant {int} NOT NULL REFERENCES tenants, at {float} NOT NULL, action {key} NOT NULL,
        speaker_id {key}, other_id {key}, detail {text} NOT NULL, undone_by {int})
    """,
    "CREATE INDEX audit_by_speaker ON audit (tenant, speaker_id)",
    "CREATE INDEX audit_by_other ON audit (tenant, other_id)",
)

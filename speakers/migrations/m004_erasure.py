"""Who must stay forgotten: keyed digests without a name, and erasures that a crash may have left half done."""

STATEMENTS = (
    "CREATE TABLE tombstones (tenant {int} NOT NULL REFERENCES tenants, digest {key} NOT NULL, at {float} NOT NULL, PRIMARY KEY (tenant, digest))",
    "CREATE TABLE erasures (erasure {id}, tenant {int} NOT NULL REFERENCES tenants, speakers {text} NOT NULL, at {float} NOT NULL)",
)

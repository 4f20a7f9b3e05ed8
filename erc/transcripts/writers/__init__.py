"""Writers, one module per group of output formats."""

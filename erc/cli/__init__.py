"""The command `erc`: one file per verb, each a shell over a function of the library."""

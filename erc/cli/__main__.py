"""`python -m erc.cli`, for launchers such as `accelerate launch -m erc.cli train CONFIG`."""

from erc.cli import main

main()

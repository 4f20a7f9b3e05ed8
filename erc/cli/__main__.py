"""`python -m erc.cli`, for launchers that start a module, such as `accelerate launch -m erc.cli train CONFIG`."""

from erc.cli import main

main()

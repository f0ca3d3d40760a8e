"""``python -m oltr_cli``, which ``accelerate launch -m oltr_cli`` and ``torchrun -m oltr_cli`` need."""

from oltr_cli.app import main

main()

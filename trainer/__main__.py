"""`python -m trainer`: the trainer's command line."""

from __future__ import annotations

import sys

from trainer.cli import main

sys.exit(main())

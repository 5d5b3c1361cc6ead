"""Workers: when a retrain runs, and in which order; no maths. Each process is one Celery command.

    celery -A workers.app worker -Q train -c 1 -P prefork --without-gossip --without-mingle    retrains
    celery -A workers.app worker -Q control -c 1 --without-gossip --without-mingle             ticks
    celery -A workers.app beat                                                                 the clock

Start them with REMAP_SIGTERM=SIGQUIT in the environment: a worker that is told to stop then leaves after its
soft shutdown time instead of waiting for hours of training; the run goes on elsewhere from its checkpoint.

`tasks` are the two wake-ups, `schedule` decides when, `recipe` is steps 5 to 9 of the loop in order, made of
`steps` and `release`; `snapshot` freezes votes, `child` runs the trainer as a child process, `lease` keeps
the run ours.
"""

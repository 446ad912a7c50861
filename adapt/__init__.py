"""One actor, one job: footage, shots, cast, tracking, fitting, dubbing, reports, evaluation and the command line."""

"""How fast octhub is: one command a question, each with ratios that were measured side by side in one run.

    python -m benchmarks.models     each network beside others of its kind, and the processor's peak
    python -m benchmarks.answer     where a whole answer's time goes, Grad-CAM, and what HTTP adds
    python -m benchmarks.startup    imports, and the app until its first answer
    python -m benchmarks.folders    the command line over many scans, beside the bare model
    python -m benchmarks.load       many users at once, with every answer checked, and the server's memory
    python -m benchmarks.training   the trainings beside ready batches, and two processes beside one
    python -m benchmarks.forms      faster forms of the networks, and what each costs in agreement
    python -m benchmarks.readme     puts the newest results' tables into README.md

Each prints a table, names the machine and writes results/NAME.MACHINE.json. No other work may run on the machine
meanwhile. The other files are parts of these; NOTES.md says what was tried, predicted and kept.
"""

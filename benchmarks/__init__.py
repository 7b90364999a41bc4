"""How fast octhub is: one command a question, each with ratios that were measured side by side in one run.

`python -m benchmarks.NAME` prints a table, names the machine and writes results/NAME.MACHINE.json, which README.md and
the cards read. No other work may run on the machine meanwhile. NOTES.md says what was tried, predicted and kept.
"""

"""`openfit-tokend demo`: a token server, the daemon and several scripts, with nothing to configure.

demo.py      the command: what it is to play, and how it ends
stage.py     the processes and their directory; all are removed at the end
store.py     the store of a fleet
play.py      acts that wait for an observation, never for a fixed time
solo.py, fleet.py   what happens, with one daemon and with three
promises.py  what must have held
screen.py    output for people
script.py, script.sh   the scripts, as a user would write them
"""

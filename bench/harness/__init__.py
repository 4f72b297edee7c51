"""The benchmark, by subject.

tools      what must be installed and built, and where it is found
peers      the origin and the proxies: their configuration, start and end
load       the load generators and what they say
measure    CPU time, memory, and the arithmetic on rounds
workloads  the table of workloads, and one round of each kind
report     the table on the terminal, the JSON file
plot       the SVG file
main       the command line and the order of things
"""

"""What the stories need: programs, ports, origins, clients. See README.md beside this folder."""

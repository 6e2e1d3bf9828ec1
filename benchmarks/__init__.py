"""What Lading costs beside the tools that do the bare copy: `make bench`. It measures; it is no test."""

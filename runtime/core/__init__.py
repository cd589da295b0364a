"""The pure part: states, specs, rules, timetables, messages. No I/O, no clock reads, no imports of other packages."""

"""``stenobus monitor eval``: real faults in real containers, and what the monitor makes of them.

This alone writes to the engine, and only to what it made itself. The monitor knows nothing of it.

- What is asked: :mod:`.case` (the format; the cases lie in ``cases/``), :mod:`.faults` (its steps, carried out)
- Where it happens: :mod:`.world`, made of :mod:`.containers`, :mod:`.server`, :mod:`.executor`, :mod:`.monitor` and
  :mod:`.model`; :mod:`.image` and :mod:`.probe` are what runs in the containers
- Who approves: :mod:`.person`, with the monitor's HTTP :mod:`.interface` and an :mod:`.inbox` for its alerts
- What came of it: :mod:`.record`, :mod:`.repairs`, :mod:`.outcome`, :mod:`.score`, :mod:`.figures`, :mod:`.report`,
  :mod:`.plots`
- Who ends it: :mod:`.run`, :mod:`.interrupts`, :mod:`.owner`, :mod:`.leftovers`
"""

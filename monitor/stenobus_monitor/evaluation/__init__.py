"""``stenobus monitor eval``: real faults in real containers, and what the monitor makes of them.

- What is asked: :mod:`.case` (the format; the cases lie in ``cases/``), :mod:`.faults` (its steps, carried out)
- Where it happens: :mod:`.world`, made of :mod:`.containers`, :mod:`.server`, :mod:`.executor`, :mod:`.monitor` and
  :mod:`.model`; :mod:`.image` and :mod:`.probe` are what runs in the containers
- What came of it: :mod:`.record`, :mod:`.outcome`, :mod:`.score`, :mod:`.figures`, :mod:`.report`, :mod:`.plots`
- Who ends it: :mod:`.run`, :mod:`.interrupts`, :mod:`.owner`, :mod:`.leftovers`
"""

"""How fast this machine is: ``earmark bench data``, ``train`` and ``infer``."""

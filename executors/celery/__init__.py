"""CeleryExecutor: attempts travel through a broker to Celery workers anywhere. Nobody else speaks to them.

A message holds the attempt's id, which is the Celery task's id too, and its start ticket, nothing else. What to run is
said by the task API, to whom it grants the start: a message that arrives twice, late or from a stranger runs nothing.
"""

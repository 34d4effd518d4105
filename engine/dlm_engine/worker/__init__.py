"""The engine as a process: jobs over pipes, one heavy job at a time.

`messages` and `wire` are light and are what a client may import; the rest is the worker's
own affair. A process of its own, because a step of training holds the interpreter for
longer than an editor waits for an answer, and because only a process can be killed.
"""

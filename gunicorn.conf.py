"""How gunicorn serves `wsgi:app`: one gevent worker, for the application owns the queue and its engine processes."""

import os
import sys

import gevent

worker_class = "gevent"
workers = 1
bind = "127.0.0.1:7866"
control_socket_disable = True  # it would lie in the user's home, which a service may lack
keepalive = 5  # seconds between two requests of a connection; more than nginx's, or it asks one that is being closed
graceful_timeout = 45  # more than SHUTDOWN_DEADLINE, in which the task under way may end

access_log_format = '%(h)s %(t)s "%(r)s" %(s)s %(b)s %(L)s [%({x-request-id}o)s]'  # names requests as the log does

LOOK_EVERY = 0.5


def on_starting(server):
    """Refuse several workers before any begins: the second would find the database locked, each with a sentence."""
    if server.cfg.workers > 1:
        sys.exit(
            f"gunicorn.conf.py: {server.cfg.workers} workers were asked for, and the application has one queue and "
            "its own engines: start it with one worker (-w 1), which serves hundreds of clients at once"
        )


def on_reload(server):
    """Have the new worker wait for the old one's end: both would draw what waits."""
    os.environ["FOOOCUS_STANDBY"] = "true"


def post_fork(server, worker):
    """Keep a worker from being taken for a hung one while it stands by or upgrades the tables.

    It ends when it is told to.
    """
    import blinker

    def wait(app):
        if not worker.alive:
            sys.exit(0)
        worker.notify()

    blinker.signal("fooocus-standing-by").connect(wait, weak=False)


def post_worker_init(worker):
    """Settle the worker's memory, warn of an open server, and send clients away when the worker is told to stop.

    An open stream would hold it for 30 seconds.
    """
    import fooocus_flask  # not before gevent has patched the worker
    from fooocus_flask.server import garbage, heap, launcher

    garbage.settle()
    heap.keep_freed()
    hosts = [address[0] for address in worker.cfg.address if isinstance(address, tuple)]
    for host in launcher.open_hosts(worker.wsgi, hosts):
        worker.log.warning("\n%s", launcher.warning(host))

    def close_at_stop():
        while worker.alive:
            gevent.sleep(LOOK_EVERY)
        fooocus_flask.close(worker.wsgi)

    gevent.spawn(close_at_stop)


def worker_exit(server, worker):
    """Let the task under way end in time; gunicorn waits for clients only."""
    import fooocus_flask

    if hasattr(worker, "wsgi"):  # not in one whose start failed
        fooocus_flask.close(worker.wsgi)

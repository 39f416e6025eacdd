"""Hosts that could not be reached are left alone for a while, longer each time, until one of them answers."""

import datetime as dt

import pytest

from fooocus_flask.model_files.host_backoff import FIRST, MOST, Hosts

URL, SAME, OTHER = "https://user:word@Hub.example/a", "https://hub.example/b?token=1", "https://hub.example:444/a"


class Clock:
    """Seconds that pass as the test says."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def hosts(clock):
    return Hosts(clock)


def test_a_host_is_held_for_all_its_files_and_no_other_is(hosts, clock):
    assert hosts.held(URL) is None
    hosts.failed(URL)
    assert hosts.held(SAME) == FIRST and hosts.held(OTHER) is None
    clock.seconds += FIRST - 1
    assert hosts.held(SAME) == 1
    clock.seconds += 1
    assert hosts.held(SAME) is None


def test_each_time_is_twice_as_long_up_to_an_hour(hosts, clock):
    waits = []
    for _ in range(6):
        hosts.failed(URL)
        waits.append(hosts.held(URL))
        clock.seconds += waits[-1]
    assert waits == [300, 600, 1200, 2400, MOST, MOST] and MOST == 3600


def test_files_that_fail_together_count_once(hosts):
    for url in (URL, SAME, URL):
        hosts.failed(url)
    assert hosts.held(URL) == FIRST


@pytest.mark.parametrize("end", [lambda hosts: hosts.answered(SAME), lambda hosts: hosts.forget()])
def test_an_answer_or_the_operator_ends_it(hosts, clock, end):
    hosts.failed(URL)
    clock.seconds += FIRST
    hosts.failed(URL)
    end(hosts)
    assert hosts.held(URL) is None
    hosts.failed(URL)
    assert hosts.held(URL) == FIRST


def test_the_moment_is_told(hosts):
    hosts.failed(URL)
    told = hosts.sentence(URL, dt.datetime(2026, 3, 4, 5, 58, 59, tzinfo=dt.UTC))
    assert told == "its host, hub.example, is asked again from 2026-03-04T06:03:59Z on"

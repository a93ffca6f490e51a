"""Who comes next where time is short."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.core.callers.fair_queue import NO_SHARE, FairQueue, UserShare


@dataclass(eq=False)
class Client:
    """One that takes some seconds each time."""

    name: str
    user: UserShare
    cost: float = 1.0
    share: float = NO_SHARE


@dataclass
class Place:
    """A queue, and who waits in it."""

    queue: FairQueue[Client] = field(default_factory=FairQueue[Client])

    def wait(self, *clients: Client) -> None:
        for client in clients:
            client.share = self.queue.add(client, client.user, client.share)

    def serve_before_its_turn(self, client: Client) -> None:
        client.share = self.queue.charge(client.user, client.share, client.cost)

    def serve(self) -> Client:
        """Serve whoever is next."""
        client = self.queue.pop()
        self.serve_before_its_turn(client)
        self.queue.end_turn(client.user, client.cost)
        return client

    def serve_again_and_again(self, times: int) -> Counter[str]:
        """Serve whoever is next, and let it wait again; return how many times each was."""
        served = Counter[str]()
        for _ in range(times):
            client = self.serve()
            self.wait(client)
            served[client.name] += 1
        return served


def test_who_took_least_is_next_and_among_equals_who_came_first() -> None:
    place, user = Place(), UserShare()
    much, little = Client("much", user, cost=5.0), Client("little", user)
    new, newer = Client("new", user), Client("newer", user)
    place.serve_before_its_turn(much)
    place.serve_before_its_turn(little)
    place.wait(much, little, new, newer)

    assert [place.queue.pop() for _ in range(4)] == [new, newer, little, much]
    assert not place.queue.waiting


def test_who_was_away_has_saved_up_nothing() -> None:
    place, user = Place(), UserShare()
    place.wait(Client("busy", user))
    place.serve_again_and_again(100)
    place.wait(Client("away", user))

    assert place.serve_again_and_again(20) == {"busy": 10, "away": 10}


def test_nor_has_a_user_who_was_away() -> None:
    place = Place()
    place.wait(Client("busy", UserShare()))
    place.serve_again_and_again(100)
    place.wait(Client("away", UserShare()))

    assert place.serve_again_and_again(20) == {"busy": 10, "away": 10}


costs = st.lists(st.floats(0.001, 10.0), min_size=2, max_size=8)


@given(costs)
def test_those_who_always_want_more_get_the_same_time_to_within_one_service(
    costs: list[float],
) -> None:
    place, user = Place(), UserShare()
    clients = [Client(str(number), user, cost) for number, cost in enumerate(costs)]
    place.wait(*clients)

    served = place.serve_again_and_again(200)

    took = [client.cost * served[client.name] for client in clients]
    assert max(took) - min(took) <= 2 * max(costs)


@given(st.lists(costs, min_size=2, max_size=5))
def test_so_do_users_however_many_clients_each_has(costs: list[list[float]]) -> None:
    place, users = Place(), [UserShare() for _ in costs]
    for user, each in zip(users, costs, strict=True):
        place.wait(*(Client("one of many", user, cost) for cost in each))
    most = max(max(each) for each in costs)
    took = dict.fromkeys(users, 0.0)

    for _ in range(200):
        client = place.serve()
        place.wait(client)
        took[client.user] += client.cost

    assert max(took.values()) - min(took.values()) <= 2 * most


def test_a_crowd_that_is_served_before_its_turn_too_overtakes_nobody() -> None:
    """The server answers what it can before it queues: that mustn't make the order one of arrival."""
    place, user = Place(), UserShare()
    crowd = [Client(f"crowd {number}", user, cost=0.01) for number in range(300)]
    place.wait(*crowd)
    for number in range(3000):
        place.serve_before_its_turn(crowd[number % 300])
        place.wait(place.serve())
    victim = Client("victim", user, cost=0.001)
    place.serve_before_its_turn(victim)
    place.wait(victim)

    assert victim in [place.queue.pop() for _ in range(3)]


def test_newcomers_let_the_others_of_their_user_have_their_turn() -> None:
    place, user = Place(), UserShare()
    established = Client("established", user, cost=0.01)
    place.serve_before_its_turn(established)
    place.wait(established)
    popped: list[Client] = []
    while established not in popped:
        place.wait(Client("newcomer", user))
        popped.append(place.queue.pop())

    assert len(popped) < 20


def test_any_number_of_newcomers_of_one_user_delays_another_user_by_one_of_them() -> None:
    place, user = Place(), UserShare()
    for _ in range(600):
        place.wait(Client("crowd", user))
    for _ in range(300):
        place.serve()
        place.wait(Client("crowd", user))
    other = Client("other", UserShare(), cost=0.001)
    place.wait(other)

    assert other in [place.serve() for _ in range(2)]


def test_a_user_who_is_served_much_before_its_turn_waits_for_its_turns_no_longer() -> None:
    """Else it would wait for ever behind one who always waits, and takes little."""
    place = Place()
    busy, idle = Client("busy", UserShare()), Client("idle", UserShare(), cost=0.001)
    place.wait(busy, idle)
    for _ in range(100):
        place.serve_before_its_turn(Client("another of the busy user's", busy.user))

    assert busy in [place.serve() for _ in range(2)]

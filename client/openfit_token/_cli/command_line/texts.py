"""What the help shows below the options: examples and exit statuses. Lines of at most 80 columns."""

from typing import Final

STATUSES: Final = """\
exit status:
  0  done                         74  the output can't be written
  64 wrong usage                  75  not now: try again later
  65 not a JWT (inspect)          76  protocol error
  69 no daemon                    77  not allowed, or login rejected
  70 internal error               78  configuration error
"""

ENVIRONMENT: Final = """\
environment:
  OPENFIT_PROFILE       the profile, if --profile isn't given
  OPENFIT_TOKEN_SOCKET  the daemon's socket, if --socket isn't given
"""

MAIN: Final = f"""\
examples:
  openfit-token curl --silent --fail /v1/me
  openfit-token exec -- ./nightly.sh
  printf %s "$TOKEN" | openfit-token refuse     (the API said 401)
  openfit-token status
  openfit-token doctor                          (something doesn't work)

{ENVIRONMENT}
{STATUSES}"""

_GET: Final = f"""\
formats:
  raw     the token, and a newline
  header  Authorization: Bearer ...
  curl    a config for `curl -K -`: no list of processes then shows the token.
          Add the URL as below, so that curl sends nothing if there is no token
  env     assignments for a shell's eval: OPENFIT_ACCESS_TOKEN, OPENFIT_API_URL,
          OPENFIT_EXPIRES_AT. They aren't exported: see the example, or `exec`
  json    all that is known of it, with "v": 1

examples:
  TOKEN=$(openfit-token)
  (openfit-token get --format curl && echo "url=$URL") | curl -K -
  set -a; eval "$(openfit-token get --min-ttl 10m --format env)"; set +a

{STATUSES}"""

_STATUS: Final = """\
examples:
  openfit-token status --watch
  openfit-token status --json | jq .profiles.main.expires_in
  openfit-token status --openmetrics >F.new; test -s F.new && mv F.new F.prom
    (for node_exporter's textfile collector; the exit status tells more, so no
    && behind the first command)

LAST LOGIN is when the server last accepted a password. One that was changed
since then is unproved until the next login: `openfit-token login` proves it.

exit status:
  0  all profiles are well; a refused reload alone is only told
  75 a profile has no live token, can't replace it, or will lose its session
  77 a profile is locked or logged out
  64, 69, 70, 74, 76, 78: as `openfit-token --help` says
"""

_REFRESH: Final = f"""\
The daemon replaces tokens in time by itself, so this is rarely needed. At most
one request is made each 10 s: a token younger than that is replaced then, or
the command ends with 75 if --wait is over before.

example:
  openfit-token refresh --format header

{STATUSES}"""

_REFUSE: Final = f"""\
All who refuse the same token cause one replacement. If another has replaced it
already, the current one is printed at once.

examples:
  printf %s "$TOKEN" | openfit-token refuse
  openfit-token refuse 0123456789abcdef

{STATUSES}"""

_LOGIN: Final = f"""\
Each rejected password counts: at most 3 are sent, since the server locks the
account soon after. --ask reads the password from the terminal without echo, or
one line of standard input where that is no terminal. It is used once and
forgotten: the session then lives on its refresh token.

--refresh-token reads a refresh token in the same way: one that was obtained
elsewhere, for the same client, where the server takes no password. It is used
at once, and is the daemon's alone from then on: its other holder must forget
it, since a server may end the session if an old one is used again. A restart
of the service keeps it; a reboot ends the session. One that is rejected
changes nothing.

A session lasts for weeks, and a password that was changed meanwhile isn't tried
before the next login. So after a change log in, while you can still mend it.

examples:
  openfit-token login --profile main
  openfit-token login --ask
  openfit-token login --ask <password-file
  openfit-token login --refresh-token

{STATUSES}"""

_LOGOUT: Final = f"""\
It stays logged out until the next login, over restarts and reloads.

example:
  openfit-token logout --profile main

{STATUSES}"""

_CURL: Final = """\
ARG ... are curl's own, for one URL of the API or more. A path such as /v1/me
stands for the API's URL with it. curl gets the token by a pipe, and only for
the API's origin; it leaves the token out where it is redirected elsewhere.

If the API answers 401, the token is replaced, and the request is sent once
more, unless curl can't do that: several URLs or a pattern, data from standard
input or a pipe, -C, --no-clobber. Then the next call has the new token.

~/.curlrc isn't read. Not possible are -D (use -i), --next, and what could give
the token to others: -K, -k, --location-trusted, --connect-to, --resolve,
--unix-socket, --libcurl, --trace. What -v prints has the token in it.

examples:
  openfit-token curl --silent --show-error --fail /v1/me
  openfit-token curl --profile main --json @order.json /v1/orders

exit status: curl's own; else
  127 there is no curl
  64, 69, 70, 75 to 78: as `openfit-token --help` says
"""

_EXEC: Final = """\
CMD gets OPENFIT_ACCESS_TOKEN, OPENFIT_API_URL and OPENFIT_EXPIRES_AT in its
environment. They aren't renewed while it runs: --min-ttl says how long it needs
the token; what runs longer asks the daemon itself.

examples:
  openfit-token exec -- ./nightly.sh
  openfit-token exec --profile main --min-ttl 10m -- python3 report.py --all

exit status: CMD's own; else
  126 CMD can't be run            127 there is no CMD
  64, 69, 70, 75 to 78: as `openfit-token --help` says
"""

_WATCH: Final = f"""\
The first is the token that is held already. CMD isn't given the token, but which
it is: OPENFIT_PROFILE, OPENFIT_TOKEN_ID, OPENFIT_EXPIRES_AT. It runs to its end
before the next is looked at; of several that came meanwhile the last counts. A
daemon that restarts is waited for. After Ctrl-C CMD may clean up for 90 s; a
second Ctrl-C kills it.

examples:
  openfit-token watch --profile main
  openfit-token watch -- systemctl reload my-service

{STATUSES}"""

_INSPECT: Final = """\
Shows the header and the claims of a token that is a JWT, times in words, and
all else as JSON. Nothing is verified. Neither the token nor its signature is
shown. Times are told by this machine's clock.

examples:
  openfit-token inspect
  openfit-token inspect --profile main --json | jq .claims.scope

exit status:
  0  the token was shown
  65 the token isn't a JWT that can be read; that is no error, since only the
     API has to understand it
  64, 69, 70, 74 to 78: as `openfit-token --help` says
"""

_DOCTOR: Final = """\
Looks at each link from you to the token: socket, rights, owner, daemon,
profile, login, and what your environment holds. It asks nothing of the token
server, and spends no login. `openfit-tokend check --network` looks at the
daemon's side. --api sends the token to the profile's API, once, and follows
no redirect. --report shows the last requests with the server's ids for them.

examples:
  openfit-token doctor
  openfit-token doctor --profile main --api /v1/me
  openfit-token doctor --report >ticket.txt

exit status:
  0  all links hold, perhaps with warnings
  else that of the first link that failed: 69 no daemon, 75 not now,
  76 protocol, 77 not allowed or login rejected, 78 configuration
"""

_COMPLETION: Final = f"""\
examples:
  bash, in ~/.bashrc:     eval "$(openfit-token completion bash)"
  zsh, after compinit:    eval "$(openfit-token completion zsh)"
  fish, in config.fish:   openfit-token completion fish | source

{STATUSES}"""

BY_COMMAND: Final = {
    "get": _GET,
    "status": _STATUS,
    "refresh": _REFRESH,
    "refuse": _REFUSE,
    "login": _LOGIN,
    "logout": _LOGOUT,
    "curl": _CURL,
    "exec": _EXEC,
    "watch": _WATCH,
    "inspect": _INSPECT,
    "doctor": _DOCTOR,
    "completion": _COMPLETION,
}

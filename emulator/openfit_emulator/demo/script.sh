# One of the demo's scripts, in shell. curl reads its configuration, with the token, from a pipe, so that
# no process list shows the token, and no request is sent without one. $1: the path to request from the API.
# The demo reads its lines: "ok", or what went wrong.
while :; do
    status=$( (openfit-token get --format curl && echo "url=$OPENFIT_DEMO_API/$1") |
        curl -q --silent --show-error --noproxy '*' --max-time 10 --output /dev/null \
            --write-out '%{http_code}' --config - 2>&1)
    case $status in
        200) line=ok ;;
        *) line="the API answered $(echo $status)" ;;
    esac
    echo "$line" || exit
    sleep 1
done

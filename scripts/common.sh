# Shared by the scripts at the root: messages, and what they install from the distribution's packages.
say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'berth: %s\n' "$*" >&2; exit 1; }

# need_packages package:evidence ... - evidence is a command or a path that the package brings.
need_packages() {
  local missing=() item package evidence
  for item; do
    package=${item%%:*} evidence=${item#*:}
    case $evidence in
      /*) compgen -G "$evidence" > /dev/null || missing+=("$package") ;;
      *) command -v "$evidence" > /dev/null || missing+=("$package") ;;
    esac
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get > /dev/null || fail "these packages are missing and there is no apt-get here: ${missing[*]}"
  [ "$(id -u)" = 0 ] || fail "run as root, or install these packages first: ${missing[*]}"
  say "installing from the distribution: ${missing[*]}"
  apt-get update -q > /dev/null || fail "apt-get update failed; check the package sources in /etc/apt"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" > /dev/null ||
    fail "apt-get could not install: ${missing[*]}"
}

need_sdk() {
  command -v dotnet > /dev/null || fail "the .NET 10 SDK is missing; install it (package dotnet-sdk-10.0) and run this again"
  dotnet --list-sdks | grep -q '^1[0-9]\.' || fail "the .NET SDK found is older than 10.0; install dotnet-sdk-10.0"
}

need_root() { [ "$(id -u)" = 0 ] || fail "needs root: namespaces, mounts and bridges are made here"; }

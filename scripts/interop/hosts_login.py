"""A person with a browser: runs a host's command that logs in, in a terminal of its own, opens the address of the
provider that it prints, and follows it back to the host.
    python3 hosts_login.py ISSUER COMMAND…
Prints what the host said, and ends as the host does.
"""
import fcntl
import http.cookiejar
import os
import pty
import re
import struct
import sys
import termios
import urllib.request

issuer, *command = sys.argv[1:]
address = re.compile(re.escape(issuer.encode()) + rb"/auth\?[^\s\x07\x1b]+(?=[\s\x07\x1b])")

process, terminal = pty.fork()
if process == 0:
    os.execvp(command[0], command)
# So wide that no address is broken into lines.
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 4000, 0, 0))

said, opened = b"", None
while True:
    try:
        some = os.read(terminal, 65536)
    except OSError:  # the host has closed its terminal
        break
    if not some:
        break
    said += some
    if opened is None and (opened := address.search(said)):
        browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        browser.open(opened.group().decode(), timeout=20).read()

print(said.decode(errors="replace"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))

#!/usr/bin/env python3
"""./run.py [-j N] [-l] [name-substring ...]: runs replays; PASS or FAIL a line, what failed below. -s runs slow ones too."""

import sys, glob, importlib, concurrent.futures as cf, time, traceback, os

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib

args = sys.argv[1:]
j = 6
slow = False
pats = []
while args:
    a = args.pop(0)
    if a == "-j":
        j = int(args.pop(0))
    elif a == "-s":
        slow = True
    elif a == "-l":
        pats.append("-l")
    else:
        pats.append(a)
for f in sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(__file__)), "t_*.py"))):
    importlib.import_module(os.path.basename(f)[:-3])
if "-l" in pats:
    for n, u, f, _, s in lib.TESTS:
        print(n, "|", u, "|", f)
    sys.exit()
sel = [t for t in lib.TESTS if (not pats and (slow or not t[4])) or any(p in t[0] or p in t[2] for p in pats)]
SERIAL = {"taints", "daemonset", "preemption"}


def one(t):
    name, up, file, f, _ = t
    x = lib.T(lib.Api(), name)
    t0 = time.time()
    try:
        f(x)
    except lib.Fail:
        pass
    except Exception:
        x.fails.append("EXC " + traceback.format_exc()[-900:])
    x.run_cleanups()
    return t, x, time.time() - t0


bad = 0


def rounds():
    with cf.ThreadPoolExecutor(j) as ex:
        for fut in cf.as_completed([ex.submit(one, t) for t in sel if t[0] not in SERIAL]):
            yield fut
    for t in sel:
        if t[0] in SERIAL:
            f = cf.Future()
            f.set_result(one(t))
            yield f


if True:
    for fut in rounds():
        (name, up, file, _, _), x, dt = fut.result()
        if x.fails:
            bad += 1
            print(f"FAIL {name} ({dt:.1f}s) — {up} [{file}]", flush=True)
            for m in x.fails:
                print("     - " + m, flush=True)
        else:
            print(f"PASS {name} ({dt:.1f}s, {x.ok} checks) — {up}", flush=True)
print(f"{len(sel)-bad} passed, {bad} failed")

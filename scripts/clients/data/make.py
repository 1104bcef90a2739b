"""Writes harbour.tsv, the input of the real clients' suite: a made-up harbour's log book, one event a line.

Each line is a key, a tab and a text. Made here, so free of anyone's rights; the same seed writes the same file:

    python3 scripts/clients/data/make.py > scripts/clients/data/harbour.tsv
"""

import json
import random
import sys

LINES = 4200
SEED = 20261121

SHIPS = """Aurelia Borealis Cormorant Dalibor Ebbtide Fulmar Gudrun Hesperus Isbjørn Jutta Kittiwake Lodestar Marguerite
Nordlys Oceanid Petrel Quicksilver Ragnhild Sanderling Thetis Undine Vega Wanderer Xanthe Yseult Zephyr Æolus Ørnen
Château-Renard Señora_del_Mar Łódź Владимир 潮風丸 Καλυψώ""".split()
PLACES = """North_Quay South_Basin Old_Mole Grain_Pier Timber_Wharf Coal_Berth Ferry_Slip Inner_Roads Outer_Roads Dry_Dock
Lighthouse_Point Customs_Steps Eel_Creek Herring_Stairs Breakwater""".split()
PEOPLE = """Åse Bertram Chiara Dmitri Élodie Farouk Greta Hiroshi Ines Jörg Kwame Lucía Malin Niamh Oskar Priya Quentin Rosa
Sørine Tomasz Uma Valentin Wanjiru Xavier Yara Zdeněk""".split()
CARGO = ["barley", "cork", "dried cod", "oranges", "roof slate", "copper wire", "printing paper", "pianos", "salt",
         "lamp oil", "bicycles", "olive oil", "pine boards", "wool", "coffee", "glass floats", "seed potatoes", "tiles"]
WEATHER = ["fog", "drizzle", "clear sky", "hail", "a falling glass", "sea smoke", "thunder inland", "steady rain",
           "light airs", "a heavy swell", "sleet", "haze"]
WINDS = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"]
REMARKS = [
    "The pilot asked for a second tug and got none before noon.",
    "Two crates were wet; the tally clerk noted it and both sides signed.",
    "Nobody had told the ferry, so the ferry waited, and so did the mail.",
    "A gull took the harbour master's sandwich; no action taken.",
    "Lines doubled for the night, fenders checked at every turn of the tide.",
    "Das Seil war durchgescheuert und wurde gegen ein neues getauscht.",
    "Le capitaine conteste la facture; voir la lettre du lendemain.",
    "La grúa se detuvo a media carga: un fusible, diez minutos.",
    "霧が晴れるまで入港を見合わせた。",
    "Буксир вернулся без замечаний.",
    "Paid in full, in coins, counted twice.",
    "The echo sounder disagreed with the lead line by half a fathom; the lead line was right.",
]


def plain(name):
    return name.replace("_", " ")


def tide(rng, minute):
    place = rng.choice(PLACES)
    level = round(rng.gauss(2.4, 1.1), 3)
    return f"gauge/{place}", json.dumps({"minute": minute, "gauge": plain(place), "level_m": level,
                                         "rising": rng.random() < 0.5, "battery_v": round(rng.uniform(11.2, 13.9), 2)})


def arrival(rng, minute):
    ship, place = rng.choice(SHIPS), rng.choice(PLACES)
    text = (f"{minute // 1440:03d}d {minute // 60 % 24:02d}:{minute % 60:02d} {plain(ship)} "
            f"{rng.choice(['arrived at', 'left', 'shifted to', 'anchored off', 'is expected at'])} {plain(place)}, "
            f"draught {rng.uniform(1.8, 9.6):.1f} m, wind {rng.choice(WINDS)} {rng.randint(0, 11)}")
    return f"ship/{ship}", text + (". " + rng.choice(REMARKS) if rng.random() < 0.4 else "")


def cargo(rng, _minute):
    ship, goods = rng.choice(SHIPS), rng.sample(CARGO, rng.randint(1, 5))
    rows = [f"{rng.randint(1, 900)} × {item} @ {rng.uniform(0.4, 88):.2f}" for item in goods]
    return f"ship/{ship}", "; ".join([f"manifest {rng.getrandbits(48):012x}"] + rows)


def remark(rng, _minute):
    who = rng.choice(PEOPLE)
    return f"watch/{who}", f"{who} on watch: {rng.choice(WEATHER)}, {rng.choice(WEATHER)}. " + " ".join(
        rng.sample(REMARKS, rng.randint(1, 4)))


def signal(rng, minute):
    raw = " ".join(f"{rng.getrandbits(8):02X}" for _ in range(rng.randint(8, 60)))
    return f"radio/{rng.randint(1, 16)}", f"ch{rng.randint(1, 88)} t={minute} rssi={-rng.randint(40, 118)} [{raw}]"


def main():
    rng = random.Random(SEED)
    minute = 0
    out = open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False)
    for _ in range(LINES):
        minute += rng.randint(0, 7)
        kind = rng.choices([tide, arrival, cargo, remark, signal], [30, 30, 15, 15, 10])[0]
        key, text = kind(rng, minute)
        out.write(f"{key}\t{text}\n")


main()

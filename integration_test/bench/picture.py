# SPDX-License-Identifier: Apache-2.0
"""The figures as a picture: a bar a runtime, a group of bars a piece of work."""

from xml.sax.saxutils import escape

COLOURS = ["#1b6ca8", "#e0863d", "#8c8c8c", "#5a9e6f", "#a05195", "#c9b458"]
BAR, GAP, LEFT, WIDTH = 14, 16, 230, 760


def draw(results, path):
    names = ["floor", *results["runtimes"]]
    colour = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names[1:])} | {"floor": "#bbbbbb"}
    parts, y = [], 40
    for work, row in results["works"].items():
        longest = max(it["median"] for it in row.values())
        top = y
        for who in names:
            if who not in row:
                continue
            it = row[who]
            length = max(1, it["median"] / longest * (WIDTH - LEFT - 130))
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 3}" fill="{colour[who]}"/>')
            said = f"{it['median']:.2f} ms {who}"
            parts.append(f'<text x="{LEFT + length + 5:.1f}" y="{y + BAR - 4}">{escape(said)}</text>')
            y += BAR
        parts.append(f'<text x="{LEFT - 8}" y="{(top + y) // 2 + 3}" text-anchor="end">{escape(work)}</text>')
        y += GAP
    title = f"medians of {results['rounds']} interleaved rounds, {results['lane']}, Linux {results['kernel']}"
    with open(path, "w") as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="11">\n'
            f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n'
            f'<text x="10" y="20" font-size="13">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
        )

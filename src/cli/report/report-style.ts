/**
 * The style sheet of a report's page. Every colour of text has a contrast of at least 4.5 to its ground, every bar one
 * of 3 to the empty strip, light and dark; times go from light to dark or back, so that they differ without colours.
 */
export const style = `
:root { color-scheme: light dark; --ground: #fff; --text: #1f2328; --quiet: #57606a; --line: #d0d7de; --panel: #f6f8fa;
  --bad: #a40e26; --empty: #f0f2f4; --here: #7d858d; --t0: #6a0d83; --t1: #b0306a; --t2: #c8452c; --t3: #9a6700; --t4: #2f6f9f; }
@media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --text: #e6edf3; --quiet: #9aa4af; --line: #30363d;
  --panel: #161b22; --bad: #ff8182; --empty: #1c2128; --here: #768390; --t0: #e0a3ff; --t1: #ff8cb8; --t2: #ff9d76;
  --t3: #f2cc60; --t4: #79c0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; } header p, footer, .image > p { color: var(--quiet); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem; }
dt { color: var(--quiet); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }
.legend ul { list-style: none; padding: 0; margin: .5rem 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
.key { display: inline-block; width: 1.1rem; height: .8rem; margin-right: .4rem; vertical-align: -1px; border: 1px solid var(--line); }
.key.none { background: var(--empty); } .key.here { background: var(--here); }
.key.t0 { background: var(--t0); } .key.t1 { background: var(--t1); } .key.t2 { background: var(--t2); }
.key.t3 { background: var(--t3); } .key.t4 { background: var(--t4); }
.image { margin: 2rem 0 0; padding-top: 1rem; border-top: 1px solid var(--line); }
.image > p.problem { color: var(--bad); }
.scroll { overflow-x: auto; margin-top: .5rem; }
.scroll:focus-visible { outline: 2px solid var(--t4); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
thead th { color: var(--quiet); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.what { min-width: 18rem; width: 40%; } th code { font-size: .85rem; }
.note { color: var(--quiet); font-size: .8rem; } .refused strong { color: var(--bad); white-space: nowrap; }
.strip { display: block; shape-rendering: crispEdges; width: 100%; height: 1.5rem; background: var(--empty); border: 1px solid var(--line); border-radius: 3px; }
rect.here { fill: var(--here); } rect.t0 { fill: var(--t0); } rect.t1 { fill: var(--t1); } rect.t2 { fill: var(--t2); }
rect.t3 { fill: var(--t3); } rect.t4 { fill: var(--t4); }
footer { margin-top: 2rem; font-size: .85rem; }
@media print { .scroll { overflow: visible; } .image { break-inside: avoid; } }
@media (forced-colors: active) { .strip, .key { forced-color-adjust: none; } }
`;

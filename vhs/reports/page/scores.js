// From outcomes or tallies to effects of heads. Letters: C conditions, F folds, U heads, S samples.

// What an effect is: of sums over samples, with the words of tables.
const SCALES = {
  accuracy: {
    words: "accuracy lost without the head", unit: "points", factor: 100, needs: "lost",
    of: (s) => (s.lost - s.gained) / s.n,
  },
  loss: { words: "loss added", unit: "nats", factor: 1, needs: "dloss", of: (s) => s.dloss / FIXED / s.n },
  lost_rate: {
    words: "right answers lost", unit: "%", factor: 100, needs: "lost",
    of: (s) => (s.intact ? s.lost / s.intact : NaN),
  },
  log_odds: {
    words: "log-odds of being right lost", unit: "nats", factor: 1, needs: "lost",
    of: (s) => logit(s.intact, s.n) - logit(s.intact - s.lost + s.gained, s.n),
  },
  relative_error: {
    words: "squared error added", unit: "%", factor: 100, needs: "dse", of: (s) => s.dse / Math.max(s.se_intact, 1),
  },
  error: { words: "squared error added", unit: "deviations²", factor: 1, needs: "dse", of: (s) => s.dse / FIXED / s.n },
};

function logit(right, n) { return Math.log((right + 0.5) / (n - right + 0.5)); }

// Which samples count: a byte each, or null where all do. choice: {classes: [names]|null, groups: {name: [values]}}.
function maskOf(samples, choice) {
  const groups = Object.entries(choice.groups || {});
  if (!samples || (!choice.classes && !groups.length)) return null;
  const mask = new Uint8Array(samples.fold.length).fill(1);
  const keep = (values, codes, wanted) => {
    const chosen = values.map((value) => wanted.includes(value));
    for (let s = 0; s < mask.length; s += 1) if (!chosen[codes[s]]) mask[s] = 0;
  };
  if (choice.classes) keep(samples.classes, samples.label, choice.classes);
  for (const [name, wanted] of groups) {
    const attribute = samples.groups.find((item) => item.name === name);
    if (attribute) keep(attribute.values, attribute.value, wanted);
  }
  return mask;
}

// Tallies of one condition by fold: n, intact [F], lost, gained [F x U], and what only tables know.
function tallied(run, c, mask) {
  if (run.bits) return fromOutcomes(run, c, mask);
  return mask ? null : fromFolds(run, c);
}

function fromOutcomes(run, c, mask) {
  const folds = run.n_folds, fold = run.samples.fold, present = run.bits.present;
  const units = run.heads.length, bytes = run.bits.bytes, right = run.bits.right, at = c * (units + 1) * bytes;
  const t = {
    n: new Float64Array(folds), intact: new Float64Array(folds), lost: new Float64Array(folds * units),
    gained: new Float64Array(folds * units), dloss: null, folds, masked: Boolean(mask),
  };
  for (let s = 0; s < fold.length; s += 1) {
    if ((mask && !mask[s]) || !bit(present, c * bytes, s)) continue;
    t.n[fold[s]] += 1;
    t.intact[fold[s]] += bit(right, at, s);
  }
  // The other rows say where removing a head changes whether a sample is right: few bits are set.
  for (let u = 0; u < units; u += 1) {
    const row = at + (u + 1) * bytes;
    for (let byte = 0; byte < bytes; byte += 1) {
      for (let left = right[row + byte]; left; left &= left - 1) {
        const s = byte * 8 + 31 - Math.clz32(left & -left);
        if (mask && !mask[s]) continue;
        (bit(right, at, s) ? t.lost : t.gained)[fold[s] * units + u] += 1;
      }
    }
  }
  if (!mask && run.folds) withLosses(t, run, c);
  return t;
}

function bit(bytes, at, s) { return (bytes[at + (s >> 3)] >> (s & 7)) & 1; }

function fromFolds(run, c) {
  if (!run.folds) return fromTotals(run, c);
  const units = run.heads.length, folds = run.n_folds;
  const part = (name, width) => Float64Array.from(run.folds[name].subarray(c * folds * width, (c + 1) * folds * width));
  if (run.target !== "class") {
    return { n: part("n", 1), se_intact: part("se_intact", 1), dse: part("dse", units), folds, squares: squares(run, c) };
  }
  const t = { n: part("n", 1), intact: part("intact", 1), lost: part("lost", units), gained: part("gained", units), folds };
  withLosses(t, run, c);
  return t;
}

function withLosses(t, run, c) {
  const width = run.n_folds * run.heads.length;
  t.dloss = Float64Array.from(run.folds.dloss.subarray(c * width, (c + 1) * width));
  t.squares = squares(run, c);
}

function squares(run, c) {
  return run.folds.squares.subarray(c * run.heads.length, (c + 1) * run.heads.length);
}

// A table without folds: one fold of all samples, and its own bounds of what sums do not tell.
function fromTotals(run, c) {
  const units = run.heads.length, of = run.totals, n = of.n[c];
  const part = (name) => Float64Array.from(of[name].subarray(c * units, (c + 1) * units));
  const fixed = (name) => part(name).map((x) => x * n * FIXED);
  const t = { n: [n], folds: 1, bounds: {} };
  if (run.target === "class") {
    Object.assign(t, { intact: [of.intact[c]], lost: part("lost"), gained: part("gained"), dloss: fixed("dloss") });
    t.bounds.loss = [part("dloss_lo"), part("dloss_hi")];
  } else {
    Object.assign(t, { se_intact: [of.mse_intact[c] * n * FIXED], dse: fixed("dmse") });
    t.bounds.error = [part("dmse_lo"), part("dmse_hi")];
    t.bounds.relative_error = [part("dmse_rel_lo"), part("dmse_rel_hi")];
  }
  return t;
}

// The sums of one head over all folds.
const OF_FOLDS = ["n", "intact", "se_intact"], OF_HEADS = ["lost", "gained", "dloss", "dse"];
function sums(t, units, u) {
  const s = {};
  for (const name of OF_FOLDS) if (t[name]) s[name] = total(t[name]);
  for (const name of OF_HEADS) {
    if (!t[name]) continue;
    s[name] = 0;
    for (let f = 0; f < t.folds; f += 1) s[name] += t[name][f * units + u];
  }
  return s;
}

// The same without one fold; sums are whole numbers, so that nothing is rounded.
function less(s, t, units, u, f) {
  const rest = {};
  for (const name of OF_FOLDS) if (t[name]) rest[name] = s[name] - t[name][f];
  for (const name of OF_HEADS) if (t[name]) rest[name] = s[name] - t[name][f * units + u];
  return rest;
}

// A statistic of every head, whole and without each fold: {whole: [U], without: [U][F]}.
function replicates(t, units, scale) {
  const of = SCALES[scale].of, found = { whole: [], without: [] };
  // Of chosen samples a fold without any is no replicate; of all samples folds are what they are in the tables.
  const filled = [...Array(t.folds).keys()].filter((f) => t.n[f] > 0 || !t.masked);
  for (let u = 0; u < units; u += 1) {
    const s = sums(t, units, u);
    found.whole.push(of(s));
    found.without.push(filled.map((f) => of(less(s, t, units, u, f))));
  }
  return found;
}

// The mean of replicates over conditions; conditions hold the same samples, so a fold leaves all of them at once.
function average(parts) {
  if (parts.length === 1) return parts[0];
  const folds = Math.min(...parts.map((part) => part.without[0].length)); // sets of other samples may lack one
  const mean = (pick) => parts.reduce((sum, part) => sum + pick(part), 0) / parts.length;
  return {
    whole: parts[0].whole.map((_, u) => mean((part) => part.whole[u])),
    without: parts[0].without.map((_, u) => Array.from({ length: folds }, (__, f) => mean((part) => part.without[u][f]))),
  };
}

// Effects of all heads over some conditions of a run: value, lo, hi, p, q; and less clean: diff, diffLo, diffHi, diffP,
// diffQ. q is over the heads. null where the choice leaves no samples, or the run does not tell this scale of them.
function effects(run, chosen, mask, scale) {
  const tallies = chosen.map((c) => counted(run, c, mask)), units = run.heads.length;
  if (!tallies.length || tallies.some((t) => !tells(t, scale))) return null;
  const mean = average(tallies.map((t) => replicated(t, units, scale)));
  const bounds = mean.whole.map((value, u) => {
    const own = tallies.length === 1 ? boundsOfOne(tallies[0], units, u, value, scale) : null;
    return own && "lo" in own ? own : { ...jackknife(value, mean.without[u]), ...own };
  });
  const p = bounds.map((b) => (run.adaptive ? NaN : b.p));
  const found = {
    value: mean.whole, lo: bounds.map((b) => b.lo), hi: bounds.map((b) => b.hi), p, q: benjaminiHochberg(p),
    n: total(tallies[0].n), conditions: chosen.length,
  };
  const clean = run.clean === null ? null : counted(run, run.clean, mask);
  const same = chosen.every((c) => run.paired[c]) && !(chosen.length === 1 && chosen[0] === run.clean);
  const paired = clean && tells(clean, scale) && same && samePlaces(clean, tallies);
  return paired ? Object.assign(found, differences(mean, replicated(clean, units, scale))) : found;
}

// Whether folds are the same in all, so that leaving one out of each pairs them.
function samePlaces(clean, tallies) {
  return tallies.every((t) => t.folds === clean.folds && t.n.every((n, f) => !t.masked || (n > 0) === (clean.n[f] > 0)));
}

function tells(t, scale) { return Boolean(t && t[SCALES[scale].needs] && total(t.n)); }

// Of one condition some scales have their own interval and test, those of the tables.
function boundsOfOne(t, units, u, value, scale) {
  const s = sums(t, units, u);
  if (scale === "accuracy") {
    const [lo, hi] = bonettPrice(s.lost, s.gained, s.n);
    return { lo, hi, p: mcnemar(s.lost, s.gained) };
  }
  if (t.bounds) {
    const [lo, hi] = (t.bounds[scale] || [[], []]).map((column) => (u in column ? column[u] : NaN));
    return { lo, hi, p: scale === "loss" || scale === "error" ? normalP(value, hi) : scale === "relative_error" ? errorP(t, s, u) : NaN };
  }
  if ((scale === "loss" || scale === "error") && t.squares) {
    const [, lo, hi] = meanInterval(scale === "loss" ? s.dloss : s.dse, t.squares[u], s.n);
    return { lo, hi, p: normalP(value, hi) };
  }
  if (scale === "relative_error" && t.squares) return { whole: value, p: errorP(t, s, u) };
  return null;
}

// The test of a relative error is that of the difference, as in the tables.
function errorP(t, s, u) {
  const mean = s.dse / FIXED / s.n;
  return normalP(mean, t.bounds ? t.bounds.error[1][u] : meanInterval(s.dse, t.squares[u], s.n)[2]);
}

function differences(mean, clean) {
  const diff = mean.whole.map((value, u) => value - clean.whole[u]);
  const bounds = diff.map((value, u) => jackknife(value, mean.without[u].map((x, f) => x - clean.without[u][f])));
  const diffP = bounds.map((b) => b.p);
  return {
    clean: clean.whole, diff, diffLo: bounds.map((b) => b.lo), diffHi: bounds.map((b) => b.hi), diffP,
    diffQ: benjaminiHochberg(diffP),
  };
}

// Accuracy of the intact model under a condition: [share, lo, hi, n], or null where nothing is known.
function intact(run, c, mask) {
  const t = counted(run, c, mask);
  const [n, right] = t && t.intact ? [total(t.n), total(t.intact)] : [0, 0];
  return n ? [right / n, ...wilson(right, n), n] : null;
}

function total(values) { let sum = 0; for (const value of values) sum += value; return sum; }

// Tallies and replicates are kept until another choice of samples comes.
const kept = new WeakMap();
function counted(run, c, mask) {
  let own = kept.get(run);
  if (!own || own.mask !== mask) kept.set(run, own = { mask, tallies: new Map() });
  if (!own.tallies.has(c)) own.tallies.set(c, tallied(run, c, mask));
  return own.tallies.get(c);
}

function replicated(t, units, scale) {
  t.replicates = t.replicates || {};
  return t.replicates[scale] = t.replicates[scale] || replicates(t, units, scale);
}

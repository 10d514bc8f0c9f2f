"use strict";
// Intervals, tests and q values: the formulas of vhs/measures/intervals.py and contrast.py, to rounding.

const Z95 = 1.959963984540054;
const ALPHA = 0.05;
const LEAST_FOLDS = 5;
const UNKNOWN = { lo: NaN, hi: NaN, p: NaN };
const FIXED = 16777216; // one unit of a tallied float is 2^-24

// The logarithm of the gamma function (Lanczos, g = 7).
function logGamma(x) {
  const parts = [
    676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
    -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  let sum = 0.99999999999980993;
  parts.forEach((part, index) => { sum += part / (x + index); });
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

// The regularised incomplete beta function (Lentz's continued fraction).
function betaInc(a, b, x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaInc(b, a, 1 - x);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  const tiny = 1e-300;
  let c = 1, d = 1 - (a + b) * x / (a + 1);
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let product = d;
  for (let m = 1; m < 10000; m += 1) {
    for (const odd of [false, true]) {
      const step = odd
        ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      d = 1 + step * d;
      d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + step / c;
      c = Math.abs(c) < tiny ? tiny : c;
      product *= d * c;
      if (odd && Math.abs(d * c - 1) < 1e-16) return front * product;
    }
  }
  return front * product;
}

// Two-sided probability of a normal deviate: a series near 0, a continued fraction beyond.
function normalTails(z) {
  const x = z * z / 2;
  if (!(x > 0)) return Number.isNaN(z) ? NaN : 1;
  if (x > 745) return 0;
  const front = Math.exp(-x + 0.5 * Math.log(x) - logGamma(0.5));
  if (x < 1.5) {
    let sum = 2, term = 2;
    for (let n = 1; n < 500 && term > sum * 1e-17; n += 1) { term *= x / (0.5 + n); sum += term; }
    return 1 - front * sum;
  }
  let b = x + 0.5, c = 1e300, d = 1 / b, h = d;
  for (let i = 1; i < 10000; i += 1) {
    const an = -i * (i - 0.5);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return front * h;
}

// Two-sided p of a t statistic.
function studentTails(t, df) {
  if (Number.isNaN(t)) return NaN;
  if (!Number.isFinite(t)) return 0;
  const all = df + t * t; // near 0 the other tail, which keeps its digits
  return t * t < df ? 1 - betaInc(0.5, df / 2, t * t / all) : betaInc(df / 2, 0.5, df / all);
}

// The t that a share of .025 lies beyond, by bisection on its tails.
const quantiles = new Map();
function studentQuantile(df) {
  if (!quantiles.has(df)) {
    let low = 0, high = 1e3;
    for (let i = 0; i < 200; i += 1) {
      const middle = (low + high) / 2;
      if (studentTails(middle, df) > ALPHA) low = middle; else high = middle;
    }
    quantiles.set(df, (low + high) / 2);
  }
  return quantiles.get(df);
}

// Exact McNemar: twice the binomial tail.
function mcnemar(lost, gained) {
  const less = Math.min(lost, gained), all = lost + gained;
  return less === all ? 1 : Math.min(1, 2 * betaInc(all - less, less + 1, 0.5));
}

function clip(x, low, high) { return Math.min(Math.max(x, low), high); }

// Wilson's interval of a proportion.
function wilson(right, n) {
  const zz = Z95 * Z95, centre = (right + zz / 2) / (n + zz);
  const half = Z95 / (n + zz) * Math.sqrt(right * (n - right) / n + zz / 4);
  return [clip(centre - half, 0, 1), clip(centre + half, 0, 1)];
}

// Bonett and Price's interval of the paired difference (lost - gained) / n.
function bonettPrice(lost, gained, n) {
  const m = n + 2, mean = (lost - gained) / m;
  const half = Z95 * Math.sqrt(((lost + gained + 2) / m - mean * mean) / m);
  return [clip(mean - half, -1, 1), clip(mean + half, -1, 1)];
}

// A mean of samples from fixed-point sums of values and of squares: [mean, lo, hi].
function meanInterval(total, squares, n) {
  const mean = total / FIXED / n;
  const variance = Math.max(squares / FIXED / n - mean * mean, 0.5 / FIXED) * (n > 1 ? n / (n - 1) : NaN);
  const half = Z95 * Math.sqrt(variance / n);
  return [mean, mean - half, mean + half];
}

// Two-sided p of a mean from the upper bound of its normal interval; 1 where there is none.
function normalP(mean, hi) {
  const p = normalTails(Math.abs(mean) * Z95 / (hi - mean));
  return Number.isNaN(p) ? 1 : p;
}

// Benjamini and Hochberg's q values; what is NaN stays so and counts for nothing.
function benjaminiHochberg(p) {
  const order = [...p.keys()].filter((i) => !Number.isNaN(p[i])).sort((a, b) => p[a] - p[b]);
  const q = new Array(p.length).fill(NaN);
  let least = 1;
  for (let rank = order.length; rank > 0; rank -= 1) {
    least = Math.min(least, p[order[rank - 1]] * order.length / rank);
    q[order[rank - 1]] = least;
  }
  return q;
}

// The delete-one-fold jackknife of a statistic: its interval, and p that it is 0 (t with folds - 1 degrees of freedom).
function jackknife(whole, without) {
  const folds = without.length;
  if (folds < LEAST_FOLDS || Number.isNaN(whole)) return UNKNOWN;
  const mean = without.reduce((a, b) => a + b, 0) / folds;
  const error = Math.sqrt((folds - 1) / folds * without.reduce((sum, x) => sum + (x - mean) ** 2, 0));
  if (error === 0 && whole !== 0) return UNKNOWN; // one or two answers in all: what they do not vary by is not known
  const half = studentQuantile(folds - 1) * error;
  const t = error > 0 ? Math.abs(whole) / error : (whole === 0 ? 0 : Infinity);
  return { lo: whole - half, hi: whole + half, p: studentTails(t, folds - 1) };
}

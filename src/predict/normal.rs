//! The normal distribution.

use std::f64::consts::{PI, SQRT_2};

/// Density of the standard normal distribution.
#[must_use]
pub fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// Probability of a standard normal variable up to `x`.
#[must_use]
pub fn cumulative(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Where the cumulative probability is `p`: Acklam's rational approximation (2003) and one step of Halley.
#[must_use]
pub fn quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * p.ln()).sqrt();
        horner(&C, q) / (horner(&D, q) * q + 1.0)
    };
    let x = if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        horner(&A, q * q) * q / (horner(&B, q * q) * q * q + 1.0)
    };
    let step = (cumulative(x) - p) / density(x);
    x - step / (1.0 + 0.5 * x * step)
}

/// Logarithm of the expected improvement `density(z) + z cumulative(z)` of a standard normal variable over `-z`, also
/// where the improvement itself is too small for a number (Ament et al. 2023, arXiv 2310.20708, equation 9).
#[must_use]
pub fn log_improvement(z: f64) -> f64 {
    if z > -1.0 {
        return (density(z) + z * cumulative(z)).ln();
    }
    // 1 + z cumulative(z) / density(z); from far out only the tail of its asymptotic series is left.
    let rest = if z > -25.0 {
        let mills = (PI / 2.0).sqrt() * libm::erfc(-z / SQRT_2) * (0.5 * z * z).exp();
        1.0 + z * mills
    } else {
        1.0 / (z * z) - 3.0 / z.powi(4)
    };
    -0.5 * z * z - 0.5 * (2.0 * PI).ln() + rest.ln()
}

/// The standard normal scores of some numbers: the quantile of each one's rank, equal numbers sharing theirs.
///
/// Salinas, Shen and Perrone 2020, "A Quantile-based Approach for Hyperparameter Transfer Learning" (arXiv 1909.13595,
/// section 3): losses of architectures have a long tail of failures, which would drown all differences that matter.
#[must_use]
pub fn scores(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut found = vec![0.0; values.len()];
    let mut below = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = below as f64 + 0.5 * tied.len() as f64;
        below += tied.len();
        for &i in tied {
            found[i] = quantile(rank / values.len() as f64);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_and_cumulative_are_inverse() {
        for i in 1..1000 {
            let p = f64::from(i) / 1000.0;
            assert!((cumulative(quantile(p)) - p).abs() < 1e-14);
        }
        assert!((quantile(0.975) - 1.959963984540054).abs() < 1e-12);
        assert!((cumulative(quantile(1e-12)) - 1e-12).abs() < 1e-24);
    }

    #[test]
    fn the_improvement_is_smooth_where_formulas_meet() {
        for z in [-1.0, -25.0] {
            let (left, right) = (log_improvement(z - 1e-9), log_improvement(z + 1e-9));
            assert!((left - right).abs() < 1e-3, "{z}: {left} {right}");
        }
        assert!((log_improvement(0.0) - density(0.0).ln()).abs() < 1e-12);
        assert!(log_improvement(-100.0) > log_improvement(-101.0) && log_improvement(-100.0).is_finite());
    }

    #[test]
    fn scores_keep_order_and_ties() {
        let found = scores(&[3.0, 1.0, 3.0, -5.0]);
        assert_eq!(found[0], found[2]);
        assert!(found[3] < found[1] && found[1] < found[0]);
        assert_eq!(scores(&[7.0]), [0.0]);
        assert!(scores(&[2.0, 2.0]).iter().all(|z| z.abs() < 1e-15));
    }
}

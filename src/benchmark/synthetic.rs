//! Closed forms: functions whose optimum is known, to see that a search finds it.
//!
//! ZDT1-4 and 6 (Zitzler, Deb and Thiele 2000, "Comparison of Multiobjective Evolutionary Algorithms: Empirical
//! Results", section 4), DTLZ1, 2 and 7 (Deb, Thiele, Laumanns and Zitzler 2005, "Scalable Test Problems for
//! Evolutionary Multiobjective Optimization", section 6), and "sphere", the squared distance from a known point of a
//! mixed space. All are minimised. A partial fidelity answers like a full one.

use std::f64::consts::PI;

use super::{Answers, Benchmark, Metric, Refusal};
use crate::error::{Error, Result, suggest};
use crate::space::{Decision, Domain, Label, Point, SearchSpace};
use crate::trial::Fidelity;

const NAMES: [&str; 9] = ["sphere", "zdt1", "zdt2", "zdt3", "zdt4", "zdt6", "dtlz1", "dtlz2", "dtlz7"];

/// The function of this name on `dimensions` decisions with `objectives` objectives; `None`: as in the paper.
///
/// "sphere" has one objective, "loss", and its decisions are in turn real, integer and categorical; the others have
/// real ones and the objectives "f1", "f2" and so on.
///
/// # Errors
/// [`Error::Evaluation`] for an unknown name, or numbers that the function is not made for.
pub fn synthetic(name: &str, dimensions: Option<usize>, objectives: Option<usize>) -> Result<Benchmark> {
    let Some(name) = NAMES.into_iter().find(|known| *known == name) else {
        return Err(Error::Evaluation(format!(
            "there is no synthetic benchmark '{name}'{}",
            suggest(name, NAMES)
        )));
    };
    let (usual_dimensions, usual_objectives, fixed) = match name {
        "sphere" => (6, 1, true),
        "zdt1" | "zdt2" | "zdt3" => (30, 2, true),
        "zdt4" | "zdt6" => (10, 2, true),
        // M - 1 positions and k = 5, 10, 20 distances (Deb et al. 2005, section 6).
        "dtlz1" => (objectives.unwrap_or(3) + 4, 3, false),
        "dtlz2" => (objectives.unwrap_or(3) + 9, 3, false),
        _ => (objectives.unwrap_or(3) + 19, 3, false),
    };
    let m = objectives.unwrap_or(usual_objectives);
    let n = dimensions.unwrap_or(usual_dimensions);
    if (fixed && m != usual_objectives) || m == 0 || (!fixed && m < 2) {
        let expected = if fixed { usual_objectives.to_string() } else { "2 or more".into() };
        return Err(Error::Evaluation(format!("benchmark '{name}' has {m} objectives; expected {expected}")));
    }
    if n < m {
        return Err(Error::Evaluation(format!("benchmark '{name}' has {n} decisions; expected {m} or more")));
    }

    let decision = |i: usize| {
        let unit = Domain::Real { low: 0.0, high: 1.0, log: false };
        let domain = match (name, i % 3) {
            ("sphere", 0) => Domain::Real { low: -1.0, high: 1.0, log: false },
            ("sphere", 1) => Domain::Integer { low: -5, high: 5, step: 1 },
            ("sphere", _) => {
                Domain::Categorical(["far", "near", "centre"].map(|l| Label::Text(l.into())).to_vec())
            }
            ("zdt4", _) if i > 0 => Domain::Real { low: -5.0, high: 5.0, log: false },
            _ => unit,
        };
        Decision::new(format!("x{}", i + 1), domain)
    };
    let space = SearchSpace::new((0..n).map(decision).collect())?;
    let metrics: Vec<Metric> = match name {
        "sphere" => vec![Metric::min("loss")],
        _ => (1..=m).map(|i| Metric::min(format!("f{i}"))).collect(),
    };
    let optimum = match name {
        "zdt3" => vec![0.0, lowest(|f| 1.0 - f.sqrt() - f * (10.0 * PI * f).sin())],
        "zdt6" => vec![lowest(zdt6_first), 0.0],
        "dtlz7" => {
            let mut best = vec![0.0; m];
            let dip = -lowest(|f| -f / 2.0 * (1.0 + (3.0 * PI * f).sin()));
            best[m - 1] = 2.0 * (m as f64 - (m - 1) as f64 * dip);
            best
        }
        _ => vec![0.0; m],
    };
    let answers = Box::new(Function { name, space: space.clone(), m });
    Ok(Benchmark::new(name, space, metrics, (0, 0), optimum, vec![1.0], answers))
}

/// The smallest value on [0, 1].
fn lowest(f: impl Fn(f64) -> f64) -> f64 {
    let grid = 100_000;
    let at = |i: i32| f(f64::from(i) / f64::from(grid));
    let best = (0..=grid).min_by(|&a, &b| at(a).total_cmp(&at(b))).unwrap_or(0);
    // Parabolic minima: between the neighbours of the best grid point a ternary search is exact to rounding.
    let (mut low, mut high) = (f64::from((best - 1).max(0)), f64::from((best + 1).min(grid)));
    for _ in 0..100 {
        let (a, b) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if f(a / f64::from(grid)) < f(b / f64::from(grid)) { high = b } else { low = a }
    }
    f(low / f64::from(grid))
}

fn zdt6_first(x: f64) -> f64 {
    1.0 - (-4.0 * x).exp() * (6.0 * PI * x).sin().powi(6)
}

struct Function {
    name: &'static str,
    space: SearchSpace,
    m: usize,
}

impl Function {
    fn sphere(&self, point: &Point) -> f64 {
        let mut sum = 0.0;
        for (i, decision) in self.space.decisions().iter().enumerate() {
            let distance = match &decision.domain {
                Domain::Categorical(labels) => (labels.len() as i32 - 1 - point.codes()[i]).into(),
                Domain::Integer { low, .. } => (*low as f64 + f64::from(point.codes()[i]) - 2.0) / 5.0,
                _ => self.space.real_slot(i).map_or(0.0, |slot| point.reals()[slot] - 0.3),
            };
            sum += distance * distance;
        }
        sum
    }

    fn values(&self, x: &[f64]) -> Vec<f64> {
        let (n, m) = (x.len(), self.m);
        let mean = |x: &[f64]| if x.is_empty() { 0.0 } else { x.iter().sum::<f64>() / x.len() as f64 };
        let rastrigin =
            |x: f64, shift: f64, waves: f64| (x - shift).powi(2) - (waves * PI * (x - shift)).cos();
        match self.name {
            "zdt1" => {
                let g = 1.0 + 9.0 * mean(&x[1..]);
                vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
            }
            "zdt2" => {
                let g = 1.0 + 9.0 * mean(&x[1..]);
                vec![x[0], g * (1.0 - (x[0] / g).powi(2))]
            }
            "zdt3" => {
                let g = 1.0 + 9.0 * mean(&x[1..]);
                vec![x[0], g * (1.0 - (x[0] / g).sqrt() - x[0] / g * (10.0 * PI * x[0]).sin())]
            }
            "zdt4" => {
                let rough = |x: &f64| x * x - 10.0 * (4.0 * PI * x).cos();
                let g = 1.0 + 10.0 * (n - 1) as f64 + x[1..].iter().map(rough).sum::<f64>();
                vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
            }
            "zdt6" => {
                let f1 = zdt6_first(x[0]);
                let g = 1.0 + 9.0 * mean(&x[1..]).powf(0.25);
                vec![f1, g * (1.0 - (f1 / g).powi(2))]
            }
            "dtlz1" => {
                let distances = &x[m - 1..];
                let rough: f64 = distances.iter().map(|&x| rastrigin(x, 0.5, 20.0)).sum();
                let scale = 0.5 * (1.0 + 100.0 * (distances.len() as f64 + rough));
                (0..m)
                    .map(|i| {
                        let product: f64 = x[..m - 1 - i].iter().product();
                        scale * product * if i == 0 { 1.0 } else { 1.0 - x[m - 1 - i] }
                    })
                    .collect()
            }
            "dtlz2" => {
                let g: f64 = x[m - 1..].iter().map(|x| (x - 0.5).powi(2)).sum();
                (0..m)
                    .map(|i| {
                        let product: f64 = x[..m - 1 - i].iter().map(|x| (x * PI / 2.0).cos()).product();
                        (1.0 + g) * product * if i == 0 { 1.0 } else { (x[m - 1 - i] * PI / 2.0).sin() }
                    })
                    .collect()
            }
            _ => {
                let g = 1.0 + 9.0 * mean(&x[m - 1..]);
                let h = |f: &f64| f / (1.0 + g) * (1.0 + (3.0 * PI * f).sin());
                let mut f = x[..m - 1].to_vec();
                f.push((1.0 + g) * (m as f64 - f.iter().map(h).sum::<f64>()));
                f
            }
        }
    }
}

impl Answers for Function {
    fn answer(
        &self,
        point: &Point,
        _: Fidelity,
        columns: &[usize],
        values: &mut [f64],
    ) -> std::result::Result<(), Refusal> {
        let all = if self.name == "sphere" { vec![self.sphere(point)] } else { self.values(point.reals()) };
        for (value, &column) in values.iter_mut().zip(columns) {
            *value = all[column];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, x: Vec<f64>) -> Vec<f64> {
        let benchmark = synthetic(name, None, None).unwrap();
        let point = Point::new(vec![0; benchmark.space().len()], x);
        benchmark.space().check(&point).unwrap();
        benchmark.query(&point, Fidelity::Full).unwrap()
    }

    /// `first` and then as many `rest` as the function has decisions.
    fn x(name: &str, first: &[f64], rest: f64) -> Vec<f64> {
        let n = synthetic(name, None, None).unwrap().space().len();
        let mut x = first.to_vec();
        x.resize(n, rest);
        x
    }

    #[test]
    fn the_pareto_fronts_are_the_published_curves() {
        for i in 0..=10 {
            let f = f64::from(i) / 10.0;
            let on = |name: &str| at(name, x(name, &[f], 0.0));
            assert!((on("zdt1")[1] - (1.0 - f.sqrt())).abs() < 1e-12);
            assert!((on("zdt2")[1] - (1.0 - f * f)).abs() < 1e-12);
            assert!((on("zdt4")[1] - (1.0 - f.sqrt())).abs() < 1e-12);
            let [f1, f2] = on("zdt6")[..] else { panic!() };
            assert!((f2 - (1.0 - f1 * f1)).abs() < 1e-12);
            let plane: f64 = at("dtlz1", x("dtlz1", &[f, 0.3], 0.5)).iter().sum();
            assert!((plane - 0.5).abs() < 1e-9, "{plane}");
            let ball: f64 = at("dtlz2", x("dtlz2", &[f, 0.3], 0.5)).iter().map(|f| f * f).sum();
            assert!((ball - 1.0).abs() < 1e-12, "{ball}");
        }
    }

    #[test]
    fn no_point_beats_the_optimum() {
        for name in NAMES {
            let benchmark = synthetic(name, None, None).unwrap();
            for i in 0..2_000 {
                let values = benchmark.query(&benchmark.space().sample(1, i), Fidelity::Full).unwrap();
                for (value, best) in values.iter().zip(benchmark.optimum()) {
                    assert!(value >= best, "{name}: {value} against {best}");
                }
            }
        }
        let best = |name: &str, i: usize| synthetic(name, None, None).unwrap().optimum()[i];
        assert!((best("zdt6", 0) - 0.280_775_319_1).abs() < 1e-9);
        assert!((best("zdt3", 1) + 0.773_369).abs() < 1e-5);
        let sphere = synthetic("sphere", Some(3), None).unwrap();
        assert_eq!(sphere.query(&Point::new([0, 7, 2], [0.3]), Fidelity::Full).unwrap(), [0.0]);
    }

    #[test]
    fn what_does_not_exist_is_explained() {
        let message = |name, n, m| synthetic(name, n, m).err().unwrap().to_string();
        assert_eq!(
            message("zdt5x", None, None),
            "there is no synthetic benchmark 'zdt5x'; did you mean 'zdt1' or 'zdt2' or 'zdt3'?"
        );
        assert_eq!(message("zdt1", None, Some(3)), "benchmark 'zdt1' has 3 objectives; expected 2");
        assert_eq!(
            message("dtlz2", Some(2), Some(4)),
            "benchmark 'dtlz2' has 2 decisions; expected 4 or more"
        );
    }
}

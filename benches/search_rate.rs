//! Trials a second of processor time of the search algorithms with a free objective, and the time of sorting and
//! hypervolume: `cargo bench --no-default-features --bench search_rate [name of an algorithm]`.
//!
//! One thread; the middle of five repetitions. The spaces are those of NAS-Bench-201 (6 decisions of 5 values) and of
//! DARTS (two cells of 4 input pairs and 14 edges of 8 operations, an edge active if a pair takes it).

#![expect(clippy::print_stdout, reason = "a report")]
#![expect(clippy::unwrap_used, reason = "a bench stops at what is wrong")]

use std::hint::black_box;

use cpu_time::ThreadTime;
use modularnas::rng::stream;
use modularnas::search::{ALGORITHMS, Context, Entry};
use modularnas::space::{Decision, Domain, Label, Point, SearchSpace};
use modularnas::trial::{
    Direction, Goals, Measurement, Objective, Outcome, Proposal, Trial, front, hypervolume, ranks,
};
use rand::Rng as _;

fn nasbench201() -> SearchSpace {
    let operations = Domain::Categorical((0..5).map(Label::Int).collect());
    SearchSpace::new((0..6).map(|i| Decision::new(format!("edge{i}"), operations.clone())).collect()).unwrap()
}

fn darts() -> SearchSpace {
    let operations = Domain::Categorical((0..8).map(Label::Int).collect());
    let mut decisions = Vec::new();
    for cell in ["normal", "reduce"] {
        for node in 2..6_i64 {
            let pairs: Vec<(i64, i64)> = (0..node).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
            let label = |pair: &(i64, i64)| Label::List(vec![Label::Int(pair.0), Label::Int(pair.1)]);
            let name = format!("{cell}{node}");
            decisions
                .push(Decision::new(name.clone(), Domain::Categorical(pairs.iter().map(label).collect())));
            for input in 0..node {
                let taking = pairs.iter().filter(|pair| pair.0 == input || pair.1 == input).map(label);
                decisions.push(
                    Decision::new(format!("{name}_{input}"), operations.clone())
                        .active_if(name.clone(), taking.collect()),
                );
            }
        }
    }
    SearchSpace::new(decisions).unwrap()
}

fn numbers() -> SearchSpace {
    let domain = Domain::Real { low: 0.0, high: 1.0, log: false };
    SearchSpace::new((0..6).map(|i| Decision::new(format!("x{i}"), domain.clone())).collect()).unwrap()
}

fn middle_of_five(mut measure: impl FnMut() -> f64) -> f64 {
    let mut all: Vec<f64> = (0..5).map(|_| measure()).collect();
    all.sort_by(f64::total_cmp);
    all[2]
}

fn losses(point: &Point, objectives: usize) -> Box<[f64]> {
    let sum: i32 = point.codes().iter().enumerate().map(|(i, &c)| c * (i as i32 % 3 - 1)).sum();
    let real: f64 = point.reals().iter().sum();
    let first = f64::from(point.codes().iter().sum::<i32>()) + real;
    [first, f64::from(sum) - real, f64::from(sum * sum)][..objectives].into()
}

/// Trials a second.
fn rate(
    entry: &Entry,
    settings: &serde_json::Value,
    space: &SearchSpace,
    objectives: usize,
    batch: usize,
    trials: u64,
) -> f64 {
    let objective = |k| Objective { metric: format!("loss{k}"), direction: Direction::Minimize };
    let goals = Goals::new((0..objectives).map(objective).collect(), vec![]).unwrap();
    middle_of_five(|| {
        let mut algorithm = (entry.create)(settings, space, &goals).unwrap();
        let start = ThreadTime::now();
        let mut next = 0;
        while next < trials {
            let cx = Context { space, goals: &goals, seed: 1, next, running: &[], feasible: None };
            let proposals = algorithm.ask(&cx, batch).unwrap();
            if proposals.is_empty() {
                break;
            }
            let finished: Vec<Trial> = (next..)
                .zip(proposals)
                .map(|(id, Proposal { point, fidelity, parent })| {
                    let values = losses(&point, objectives);
                    let outcome = Some(Outcome::Complete(Measurement { values }));
                    Trial { id, point, fidelity, parent, outcome }
                })
                .collect();
            next += finished.len() as u64;
            algorithm.tell(&cx, &finished).unwrap();
        }
        black_box(&algorithm);
        next as f64 / start.elapsed().as_secs_f64()
    })
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only == name);
    let ours = [
        "random",
        "grid",
        "local_search",
        "simulated_annealing",
        "evolution",
        "regularized_evolution",
        "genetic",
        "nsga2",
        "nsga3",
        "moead",
        "mo_regularized_evolution",
        "cma_es",
        "differential_evolution",
    ];
    println!("thousand trials a second of processor time, one at a time");
    for entry in ALGORITHMS.iter().filter(|entry| ours.contains(&entry.name) && wanted(entry.name)) {
        print!("{:28}", entry.name);
        for (name, space) in [("nb201", nasbench201()), ("darts", darts()), ("6 reals", numbers())] {
            for objectives in [1, 2, 3] {
                let goals = Goals::new(
                    vec![Objective { metric: "loss".into(), direction: Direction::Minimize }],
                    vec![],
                )
                .unwrap();
                let settings = serde_json::json!({});
                if (entry.create)(&settings, &space, &goals).is_err() {
                    print!("  {name} refused");
                    break;
                }
                let found = rate(entry, &settings, &space, objectives, 1, 20_000);
                print!("  {name}/{objectives} {:6.0}", found / 1e3);
            }
        }
        println!();
    }
    println!("\nmillion trials a second, generations of 1000 asked and told at once");
    for entry in ALGORITHMS.iter().filter(|entry| entry.name.starts_with("nsga") && wanted(entry.name)) {
        let settings = serde_json::json!({"population": 1000});
        for (name, space) in [("nb201", nasbench201()), ("darts", darts())] {
            for (objectives, crossover) in [(2, "sbx"), (2, "uniform"), (3, "sbx")] {
                let mut settings = settings.clone();
                settings["crossover"] = crossover.into();
                let found = rate(entry, &settings, &space, objectives, 1000, 200_000);
                println!("{} {name}/{objectives} {crossover}: {:.2}", entry.name, found / 1e6);
            }
        }
    }
    if !wanted("pareto") {
        return;
    }
    println!("\nmilliseconds: ranks, front, hypervolume of uniform points, and of points on a sphere");
    for objectives in [2, 3, 4] {
        for n in [1_000, 10_000, 100_000] {
            let mut rng = stream(7, n as u64, "bench");
            let uniform: Vec<Vec<f64>> =
                (0..n).map(|_| (0..objectives).map(|_| rng.random::<f64>()).collect()).collect();
            let sphere: Vec<Vec<f64>> = uniform
                .iter()
                .map(|row| {
                    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter().map(|x| 1.0 - x / length).collect()
                })
                .collect();
            print!("{objectives} losses, {n:6} points:");
            for points in [&uniform, &sphere] {
                // Quadratic with four losses; skip what would take minutes.
                if objectives == 4 && n > 10_000 {
                    continue;
                }
                let time = |work: &dyn Fn()| {
                    1e3 * middle_of_five(|| {
                        let start = ThreadTime::now();
                        work();
                        start.elapsed().as_secs_f64()
                    })
                };
                let reference = vec![1.1; objectives];
                print!("  {:9.3}", time(&|| drop(black_box(ranks(points)))));
                print!("  {:9.3}", time(&|| drop(black_box(front(points)))));
                if objectives < 4 || n <= 1_000 {
                    print!(
                        "  {:9.3}",
                        time(&|| {
                            black_box(hypervolume(points, &reference));
                        })
                    );
                }
            }
            println!();
        }
    }
}

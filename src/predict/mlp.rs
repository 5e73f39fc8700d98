//! Neural networks: a small ensemble of multi-layer perceptrons.
//!
//! Each member maps a row through two layers of rectified units to one number, trained on the squared error of the
//! standardised targets by Adam (Kingma and Ba 2014, arXiv 1412.6980, algorithm 1) in mini-batches with a cosine
//! learning rate. Members differ by their initial weights (He et al. 2015, arXiv 1502.01852), the order of batches and
//! the rows that they see. The uncertainty is that of their mixture (Lakshminarayanan et al. 2017, arXiv 1612.01474,
//! section 2.4), where a member's own deviation is its error on the rows that it has not seen: the members' spread alone
//! is too sure, and BANANAS with it stops at its first local optimum.
//!
//! Deviations from BANANAS (White et al. 2019, arXiv 1910.11858: 10 layers of 20 units, MAPE loss, 150 epochs): two
//! wider layers fit in a fraction of the time; a squared loss needs no known optimum. A fit costs
//! `members * steps` gradient steps, whatever the number of rows; the memory is the weights.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use super::{Fitted, Prediction, Rows, Scale, Surrogate, check, mixture};
use crate::error::Result;
use crate::rng::Rng;

/// A small ensemble of neural networks.
#[derive(Clone, Debug)]
pub struct Mlp {
    /// Networks that vote; 1 or more.
    pub members: usize,
    /// Units of each of the two hidden layers.
    pub units: usize,
    /// Gradient steps of each member.
    pub steps: usize,
    /// Rows of a gradient step.
    pub batch: usize,
    /// The learning rate at the start; it falls to 0 along a cosine.
    pub rate: f64,
    /// The fraction of the rows that each member sees.
    pub rows: f64,
    /// Decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101).
    pub decay: f64,
}

impl Default for Mlp {
    fn default() -> Self {
        Mlp { members: 5, units: 32, steps: 300, batch: 32, rate: 0.01, rows: 0.7, decay: 0.1 }
    }
}

struct Networks {
    scale: Scale,
    members: Vec<Network>,
}

impl Surrogate for Mlp {
    fn fit(&self, rows: &Rows, targets: &[f64], rng: &mut Rng) -> Result<Box<dyn Fitted>> {
        check(rows, targets)?;
        let scale = Scale::of(targets);
        let standard: Vec<f32> = targets.iter().map(|&y| scale.apply(y) as f32).collect();
        let members = (0..self.members.max(1)).map(|_| self.train(rows, &standard, rng)).collect();
        Ok(Box::new(Networks { scale, members }))
    }
}

impl Mlp {
    fn train(&self, rows: &Rows, targets: &[f32], rng: &mut Rng) -> Network {
        let mut network = Network::new(&[rows.width(), self.units, self.units, 1], rng);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let seen = ((rows.len() as f64 * self.rows).ceil() as usize).clamp(1, rows.len());
        order.shuffle(rng);
        let unseen = order.split_off(seen);
        let batch = self.batch.clamp(1, seen);
        let mut at = seen;
        for step in 0..self.steps {
            if at + batch > seen {
                order.shuffle(rng);
                at = 0;
            }
            let taken = &order[at..at + batch];
            at += batch;
            let x = Mat::from_fn(batch, rows.width(), |i, j| rows.row(taken[i])[j] as f32);
            let activations = network.forward(x);
            let output = &activations[activations.len() - 1];
            let error =
                Mat::from_fn(batch, 1, |i, _| 2.0 * (output[(i, 0)] - targets[taken[i]]) / batch as f32);
            let progress = step as f64 / self.steps as f64;
            let rate = self.rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            network.backward(&activations, error, step + 1, rate as f32, self.decay as f32);
        }
        let x = Mat::from_fn(unseen.len(), rows.width(), |i, j| rows.row(unseen[i])[j] as f32);
        let output = network.forward(x).swap_remove(network.layers.len());
        let square: f32 =
            unseen.iter().enumerate().map(|(i, &row)| (output[(i, 0)] - targets[row]).powi(2)).sum();
        network.error = f64::from(square / unseen.len().max(1) as f32).sqrt();
        network
    }
}

impl Fitted for Networks {
    fn predict(&self, rows: &Rows) -> Result<Vec<Prediction>> {
        let votes: Vec<Mat<f32>> = self
            .members
            .iter()
            .map(|network| {
                let x = Mat::from_fn(rows.len(), rows.width(), |i, j| rows.row(i)[j] as f32);
                network.forward(x).swap_remove(network.layers.len())
            })
            .collect();
        let believe = |i| {
            let beliefs = votes
                .iter()
                .zip(&self.members)
                .map(|(vote, member)| Prediction { mean: f64::from(vote[(i, 0)]), std: member.error });
            self.scale.undo(mixture(beliefs))
        };
        Ok((0..rows.len()).map(believe).collect())
    }
}

struct Network {
    layers: Vec<Layer>,
    /// The root of the mean squared error on rows that it has not seen.
    error: f64,
}

/// Weights (inputs, outputs), with the bias as a last row, and Adam's two moments of them.
struct Layer {
    weights: Mat<f32>,
    first: Mat<f32>,
    second: Mat<f32>,
}

impl Network {
    fn new(widths: &[usize], rng: &mut Rng) -> Self {
        let mut layer = |inputs: usize, outputs: usize| {
            let bound = (6.0 / inputs.max(1) as f32).sqrt();
            let mut weights = Mat::zeros(inputs + 1, outputs);
            // The output starts at 0, the mean of the targets: targets that are all equal are met exactly.
            if outputs > 1 {
                for j in 0..outputs {
                    for i in 0..inputs {
                        weights[(i, j)] = rng.random_range(-bound..bound);
                    }
                }
            }
            let zeros = Mat::zeros(inputs + 1, outputs);
            Layer { weights, first: zeros.clone(), second: zeros }
        };
        Network { layers: widths.windows(2).map(|pair| layer(pair[0], pair[1])).collect(), error: 0.0 }
    }

    /// What goes into every layer, and at the end the output; hidden layers are rectified.
    fn forward(&self, x: Mat<f32>) -> Vec<Mat<f32>> {
        let mut activations = vec![x];
        for (depth, layer) in self.layers.iter().enumerate() {
            let input = &activations[depth];
            let (inputs, outputs) = (layer.weights.nrows() - 1, layer.weights.ncols());
            let mut y = Mat::from_fn(input.nrows(), outputs, |_, j| layer.weights[(inputs, j)]);
            matmul(&mut y, Accum::Add, input, layer.weights.subrows(0, inputs), 1.0, Par::Seq);
            if depth + 1 < self.layers.len() {
                for column in y.col_iter_mut() {
                    column.iter_mut().for_each(|value| *value = value.max(0.0));
                }
            }
            activations.push(y);
        }
        activations
    }

    /// One step of Adam down the gradient of which `error` is the part with respect to the output.
    fn backward(
        &mut self,
        activations: &[Mat<f32>],
        mut error: Mat<f32>,
        step: usize,
        rate: f32,
        decay: f32,
    ) {
        let (beta1, beta2, epsilon) = (0.9_f32, 0.999_f32, 1e-8_f32);
        let exponent = i32::try_from(step).unwrap_or(i32::MAX);
        let unbias = (1.0 - beta2.powi(exponent)).sqrt() / (1.0 - beta1.powi(exponent));
        for (depth, (layer, input)) in self.layers.iter_mut().zip(activations).enumerate().rev() {
            let (inputs, outputs) = (layer.weights.nrows() - 1, layer.weights.ncols());
            let mut gradient = Mat::zeros(inputs + 1, outputs);
            matmul(gradient.subrows_mut(0, inputs), Accum::Replace, input.transpose(), &error, 1.0, Par::Seq);
            for j in 0..outputs {
                gradient[(inputs, j)] = error.col_as_slice(j).iter().sum();
            }
            let mut below = Mat::zeros(input.nrows(), if depth > 0 { inputs } else { 0 });
            if depth > 0 {
                let weights = layer.weights.subrows(0, inputs);
                matmul(&mut below, Accum::Replace, &error, weights.transpose(), 1.0, Par::Seq);
                for j in 0..inputs {
                    let slopes = below.col_as_slice_mut(j).iter_mut();
                    for (slope, &value) in slopes.zip(input.col_as_slice(j)) {
                        *slope = if value <= 0.0 { 0.0 } else { *slope };
                    }
                }
            }
            for j in 0..outputs {
                let weights = layer.weights.col_as_slice_mut(j).iter_mut().zip(gradient.col_as_slice(j));
                let first = layer.first.col_as_slice_mut(j).iter_mut();
                let moments = first.zip(layer.second.col_as_slice_mut(j));
                for ((w, &g), (m, v)) in weights.zip(moments) {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *w -= rate * (unbias * *m / (v.sqrt() + epsilon) + decay * *w);
                }
            }
            error = below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream;

    #[test]
    fn gradients_agree_with_finite_differences() {
        let mut rng = stream(0, 0, "test");
        let x = Mat::from_fn(5, 3, |i, j| ((i * 3 + j) as f32 * 0.7).sin());
        let targets = [0.3, -0.2, 0.9, 0.1, -0.5];
        let loss = |network: &Network| -> f32 {
            let output = network.forward(x.clone()).pop().unwrap();
            (0..5).map(|i| (output[(i, 0)] - targets[i]).powi(2)).sum()
        };
        let mut network = Network::new(&[3, 4, 4, 1], &mut rng);
        let at = (1, 2);
        let step = 1e-2;
        let original = network.layers[0].weights[at];
        network.layers[0].weights[at] = original + step;
        let up = loss(&network);
        network.layers[0].weights[at] = original - step;
        let down = loss(&network);
        network.layers[0].weights[at] = original;
        let activations = network.forward(x.clone());
        let output = &activations[3];
        let error = Mat::from_fn(5, 1, |i, _| 2.0 * (output[(i, 0)] - targets[i]));
        network.backward(&activations, error, 1, 0.0, 0.0);
        let gradient = network.layers[0].first[at] / 0.1;
        assert!(
            (gradient - (up - down) / (2.0 * step)).abs() < 2e-2,
            "{gradient}, {}",
            (up - down) / (2.0 * step)
        );
    }

    #[test]
    fn it_learns_an_exclusive_or() {
        let mut rows = Rows::new(2);
        for row in [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] {
            rows.push(&row).unwrap();
        }
        let targets = [0.0, 1.0, 1.0, 0.0];
        let fitted =
            Mlp { rows: 1.0, ..Mlp::default() }.fit(&rows, &targets, &mut stream(0, 0, "test")).unwrap();
        for (p, y) in fitted.predict(&rows).unwrap().iter().zip(targets) {
            assert!((p.mean - y).abs() < 0.1, "{p:?} for {y}");
        }
    }
}

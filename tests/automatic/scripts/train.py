"""Trains an image classifier, in the style of torchvision's references/classification. It knows nothing of searches."""

import argparse
import os
import time

import numpy as np
import torch
import torch.utils.data
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler, TensorDataset


def train_one_epoch(model, criterion, optimizer, data_loader, device, epoch, args):
    model.train()
    seen, correct, started = 0, 0, time.time()
    for i, (image, target) in enumerate(data_loader):
        image, target = image.to(device), target.to(device)
        output = model(image)
        loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        if args.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), args.clip_grad_norm)
        optimizer.step()
        seen += len(image)
        correct += (output.argmax(1) == target).sum().item()
        if i % args.print_freq == 0:
            rate = seen / (time.time() - started)
            print(f"Epoch: [{epoch}] loss {loss.item():.4f} acc1 {correct / seen:.4f} img/s {rate:.0f}", flush=True)


def evaluate(model, criterion, data_loader, device):
    model.eval()
    total, correct, count = 0.0, 0, 0
    with torch.inference_mode():
        for image, target in data_loader:
            image, target = image.to(device), target.to(device)
            output = model(image)
            total += criterion(output, target).item() * len(image)
            correct += (output.argmax(1) == target).sum().item()
            count += len(image)
    return correct / count


def load_data(args):
    with np.load(args.data_path) as file:

        def read(name):
            pixels = np.cumsum(np.cumsum(file[f"{name}_d"], axis=2, dtype=np.uint8), axis=3, dtype=np.uint8)
            pixels[:, 0] += pixels[:, 1]
            pixels[:, 2] += pixels[:, 1]
            images = torch.from_numpy(pixels[: args.limit]).float() / 127.5 - 1
            return TensorDataset(images, torch.from_numpy(file[f"{name}_y"][: args.limit].astype(np.int64)))

        dataset, dataset_test = read("train"), read("test")
    sampler = DistributedSampler(dataset) if args.distributed else RandomSampler(dataset)
    data_loader = DataLoader(dataset, batch_size=args.batch_size, sampler=sampler, drop_last=True)
    data_loader_test = DataLoader(dataset_test, batch_size=args.batch_size, sampler=SequentialSampler(dataset_test))
    return data_loader, data_loader_test, sampler


def make_model(num_classes):
    def block(inputs, outputs, stride):
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())

    return nn.Sequential(
        block(3, 16, 2), block(16, 32, 2), block(32, 32, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes)
    )  # fmt: skip


def main(args):
    args.distributed = "RANK" in os.environ
    if args.distributed:
        torch.distributed.init_process_group("gloo")
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    data_loader, data_loader_test, sampler = load_data(args)

    model = make_model(num_classes=10)
    model.to(device)
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)

    model_without_ddp = model
    if args.distributed:
        model = nn.parallel.DistributedDataParallel(model)
        model_without_ddp = model.module

    for epoch in range(args.epochs):
        if args.distributed:
            sampler.set_epoch(epoch)
        train_one_epoch(model, criterion, optimizer, data_loader, device, epoch, args)
        scheduler.step()
        print(f"Test: epoch {epoch} acc1 {evaluate(model, criterion, data_loader_test, device):.4f}", flush=True)
        if args.output_dir and not (args.distributed and torch.distributed.get_rank()):
            checkpoint = {"model": model_without_ddp.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(checkpoint, os.path.join(args.output_dir, "checkpoint.pth"))
    print(f"Final acc1 {evaluate(model_without_ddp, criterion, data_loader_test, device):.4f}", flush=True)


def get_args_parser():
    parser = argparse.ArgumentParser(description="Classification training")
    parser.add_argument("--data-path", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", default=32, type=int)
    parser.add_argument("--epochs", default=3, type=int)
    parser.add_argument("--lr", default=0.05, type=float)
    parser.add_argument("--momentum", default=0.9, type=float)
    parser.add_argument("--weight-decay", default=1e-4, type=float)
    parser.add_argument("--label-smoothing", default=0.0, type=float)
    parser.add_argument("--clip-grad-norm", default=None, type=float)
    parser.add_argument("--print-freq", default=10, type=int)
    parser.add_argument("--limit", default=None, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--output-dir", default=".", type=str)
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())

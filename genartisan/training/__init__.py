"""What makes a bundle: conversion and training of its networks."""

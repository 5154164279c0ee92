"""What the engines that speak SQL share: the steps of a verb in Python; each engine has the statements they name."""

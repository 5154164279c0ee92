"""`python -m workqueue`: the command line."""

from workqueue.cli import main

if __name__ == "__main__":
    main()

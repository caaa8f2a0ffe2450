"""What turns a policy into a decorator: gates and call policies, generated wrappers, classifiers, argument checks."""

"""What a fleet needs in an AWS account before its first run, as a CloudFormation template, and how it gets there."""

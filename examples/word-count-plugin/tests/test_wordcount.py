"""The plugin keeps every rule of the house."""

from stenobus_testing import conformance

TestWordCount = conformance("example-wordcount")
